#!/bin/sh
# The whole story against a running server, with curl alone: a model, two datasets, an experiment, images, a sweep of
# 27 experiments, the results, a prediction. Every command is shown as you would type it, with its answer.
#
# Usage: scripts/walkthrough.sh [BASE_URL [IMAGES]]
#
#   BASE_URL  where the server listens; http://127.0.0.1:8080 unless given
#   IMAGES    a folder with a folder of images for each class; without it, twenty tiny pictures of lying and upright bars
#
# WALKTHROUGH_MODEL       the name of the new model; walkthrough-<date>-<time> unless set
# WALKTHROUGH_IMAGE_URLS  up to three urls, separated by commas, that the server is to fetch as images of the first class
# WALKTHROUGH_WAIT        how many seconds the sweep may take; 3600 unless set
set -eu

base=${1:-http://127.0.0.1:8080}
base=${base%/}
images=${2:-}
model=${WALKTHROUGH_MODEL:-walkthrough-$(date +%Y%m%d-%H%M%S)}
wait=${WALKTHROUGH_WAIT:-3600}
pause=2
newline='
'

fail() {
    printf '\nwalkthrough: %s\n' "$*" >&2
    exit 1
}

say() {
    printf '\n== %s\n' "$*"
}

# The words as a shell would take them back.
quoted() {
    line=
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=@,-]*) word=\'$(printf '%s' "$word" | sed "s/'/'\\\\''/g")\' ;;
        esac
        line="$line $word"
    done
    printf '%s' "$line"
}

# Asks the server; leaves its answer in $answer and stops at anything but success.
ask() {
    status=0
    answer=$(curl --silent --show-error --max-time 120 --write-out '\n%{http_code}' "$@" 2>&1) || status=$?
    if [ "$status" -eq 7 ]; then
        fail "no server answers at $base. Start one in another terminal:

    cargo run --release -- serve          (or: trainyard serve)

and wait for its line 'listening on http://...'; if that is another address, name it: scripts/walkthrough.sh BASE_URL"
    elif [ "$status" -ne 0 ]; then
        fail "curl failed with exit status $status: $answer"
    fi
    code=${answer##*"$newline"}
    answer=${answer%"$newline"*}
    case $code in
        2??) ;;
        *) fail "the server answered with status $code: $answer" ;;
    esac
    case $answer in
        *'"status":"ERROR"'* | *'"Status":"ERROR"'*) fail "the server answered: $answer" ;;
    esac
}

# The same, with the command before and the answer after, one experiment a line.
show() {
    printf '\n$ curl%s\n' "$(quoted "$@")"
    ask "$@"
    printf '%s\n' "$answer" | sed 's/{"accuracies":/\
    &/g'
}

# A number out of an answer: number FIELD
number() {
    printf '%s' "$answer" | sed -n "s/.*\"$1\": *\([0-9][0-9]*\).*/\1/p"
}

# A path as curl's -F takes it: between quotes, since a comma or a semicolon would end it.
as_file() {
    printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"
}

is_image() {
    case $1 in
        *.png | *.PNG | *.jpg | *.JPG | *.jpeg | *.JPEG | *.gif | *.GIF | *.bmp | *.BMP | *.webp | *.WEBP) [ -f "$1" ] ;;
        *) return 1 ;;
    esac
}

command -v curl >/dev/null 2>&1 || fail "curl is missing: install it first (apt-get install curl)"

own=$(mktemp -d)
trap 'rm -rf "$own"' EXIT
trap 'exit 130' INT TERM

unseen=
if [ -z "$images" ]; then
    command -v base64 >/dev/null 2>&1 || fail "base64 is missing: name a folder of images as the second argument"
    images=$own/bars
    mkdir -p "$images/lying" "$images/upright"
    # Name and content of each picture: 8x8 grey PNG files.
    while read -r name content; do
        printf '%s' "$content" | base64 -d >"$images/$name"
    done <<'PICTURES'
lying/1.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFUlEQVR42mN4BgUMcIYIFCAYRKgBAFHTH0HXMfPyAAAAAElFTkSuQmCC
lying/2.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFUlEQVR42mN4BgUMIlCAYMCliFADAGWEH0GfQvOjAAAAAElFTkSuQmCC
lying/3.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFUlEQVR42mMQgQIGOOMZFCAYRKgBAHk1H0EZK620AAAAAElFTkSuQmCC
lying/4.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFUlEQVR42mMQgQKGZ1CAYMCliFADAGWEH0Hkrc4YAAAAAElFTkSuQmCC
lying/5.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFUlEQVR42mP4BQUMcIYNFCAYRKgBAEliJsEAbtwqAAAAAElFTkSuQmCC
lying/6.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFUlEQVR42mP4BQUMNlCAYMCliFADAHOTJsGSik79AAAAAElFTkSuQmCC
lying/7.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFUlEQVR42mOwgQIGOOMXFCAYRKgBAJ3EJsENEOEJAAAAAElFTkSuQmCC
lying/8.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAFUlEQVR42mOwgQKGX1CAYMCliFADAHOTJsEAKHkHAAAAAElFTkSuQmCC
lying/9.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mPYAgUMcAYmIEINAPT1FoGf9SvqAAAAAElFTkSuQmCC
lying/10.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mPYAgUMmAAuRYQaACp1FoG6blgwAAAAAElFTkSuQmCC
upright/1.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mN49kxEBIQZKGMAAH/EH0ErFWZXAAAAAElFTkSuQmCC
upright/2.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mN4JiLyDIQZKGMAAGWEH0EVVrO8AAAAAElFTkSuQmCC
upright/3.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mMQEXn2DIQZKGMAAEtEH0Fq/SlMAAAAAElFTkSuQmCC
upright/4.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mMQefZMBIQZKGMAAGWEH0GnO1b8AAAAAElFTkSuQmCC
upright/5.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mP49cvGBoQZKGMAAItTJsECHvnZAAAAAElFTkSuQmCC
upright/6.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mP4ZWPzC4QZKGMAAHOTJsE7qzPDAAAAAElFTkSuQmCC
upright/7.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mOwsfn1C4QZKGMAAFvTJsFXHmVHAAAAAElFTkSuQmCC
upright/8.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mOw+fXLBoQZKGMAAHOTJsGc1Jd3AAAAAElFTkSuQmCC
upright/9.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mPYsoWBAYQZKGMAAED1FoFRJ3MnAAAAAElFTkSuQmCC
upright/10.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mPYwsCwBYQZKGMAACp1FoGREefUAAAAAElFTkSuQmCC
unseen.png iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAEklEQVR42mP4oKHxAYQZKGMAAOyEIwEUtPCjAAAAAElFTkSuQmCC
PICTURES
    unseen=$images/unseen.png
fi
[ -d "$images" ] || fail "there is no folder $images"

say "Is the server there?"
show "$base/healthz"

say "A model; its 27 default experiments are made with it"
show -G "$base/createModel" --data-urlencode "model_name=$model"

say "A dataset, and images for it"
show -G "$base/createDataset" --data-urlencode "model_name=$model" --data-urlencode dataset_name=first
classes=0
total=0
for folder in "$images"/*/; do
    [ -d "$folder" ] || continue
    folder=${folder%/}
    label=${folder##*/}
    count=0
    for file in "$folder"/*; do
        is_image "$file" || continue
        # The first of each class is shown, the others go the same way.
        if [ "$count" -eq 0 ]; then upload=show; else upload=ask; fi
        $upload --form-string "model_name=$model" --form-string dataset_name=first --form-string "label=$label" \
            -F "file=@$(as_file "$file")" "$base/uploadTrainingImage"
        count=$((count + 1))
        last=$file
    done
    [ "$count" -gt 0 ] || continue
    if [ "$classes" -eq 0 ]; then first_label=$label; fi
    classes=$((classes + 1))
    total=$((total + count))
    echo "   $count images of '$label' uploaded"
done
[ "$classes" -ge 2 ] || fail "$images holds images of $classes classes; at least 2 are needed, in a folder each"
echo "   $total images of $classes classes"
[ -n "$unseen" ] || unseen=$last

if [ -n "${WALKTHROUGH_IMAGE_URLS:-}" ]; then
    say "Images that the server fetches itself"
    show -G "$base/uploadTrainingImages" --data-urlencode "model_name=$model" --data-urlencode dataset_name=first \
        --data-urlencode "label=$first_label" --data-urlencode "image_urls=$WALKTHROUGH_IMAGE_URLS"
fi

say "A second dataset that starts as a copy of the first"
show -G "$base/createDataset" --data-urlencode "model_name=$model" --data-urlencode dataset_name=second \
    --data-urlencode dataset_name_old=first

say "An experiment of your own, trained on the copy"
show -G "$base/createExperiment" --data-urlencode "model_name=$model" --data-urlencode experiment_name=mine \
    --data-urlencode learning_rate=0.02 --data-urlencode num_layers=2 --data-urlencode num_steps=500
show -G "$base/train" --data-urlencode "model_name=$model" --data-urlencode experiment_name=mine \
    --data-urlencode dataset_name=second

say "All default experiments on the first dataset"
show -G "$base/runDefaultExperiments" --data-urlencode "model_name=$model" --data-urlencode dataset_name=first

say "Waiting until nothing is queued or running"
printf '\n$ curl %s/api/v1/queue\n' "$base"
waited=0
before=
while :; do
    ask "$base/api/v1/queue"
    queued=$(number queued)
    running=$(number running)
    if [ -z "$queued" ] || [ -z "$running" ]; then fail "the queue's answer names no numbers: $answer"; fi
    if [ "$queued $running" != "$before" ]; then
        echo "   after ${waited} s: $queued queued, $running running"
        before="$queued $running"
    fi
    [ "$((queued + running))" -gt 0 ] || break
    [ "$waited" -lt "$wait" ] || fail "the queue is not empty after $waited s; set WALKTHROUGH_WAIT to wait longer"
    sleep "$pause"
    waited=$((waited + pause))
done

say "Every result"
show -G "$base/allAccuracies" --data-urlencode "model_name=$model"
results=$(printf '%s' "$answer" | grep -o '"accuracy":' | wc -l)
echo "   $((results)) results; a run that failed has none, and $base/api/v1/runs?model=$model says why"

say "The best one, and the best of a single experiment"
show -G "$base/bestAccuracy" --data-urlencode "model_name=$model"
show -G "$base/bestAccuracy" --data-urlencode "model_name=$model" --data-urlencode experiment_name=mine

say "A prediction with the best model"
show --form-string "model_name=$model" -F "file=@$(as_file "$unseen")" "$base/test"

say "Done: model $model"
