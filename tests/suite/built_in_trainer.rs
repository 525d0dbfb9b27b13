//! The built-in trainer as its users meet it: the real binary, on small folders of images.

use crate::harness::process;
use image::{Luma, Rgb};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdout, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Runs the binary in `model` with a clean environment, as a server does.
fn trainyard(model: &Path, environment: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = process::trainyard();
    command.args(args).env_clear().env("TRAINYARD_MODEL_DIR", model).env("TRAINYARD_RUN_ID", "run_0000000000016");
    command.envs(environment.iter().copied()).output().unwrap()
}

fn train(images: &Path, model: &Path, environment: &[(&str, &str)]) -> Output {
    let images = images.to_str().unwrap();
    trainyard(model, environment, &["train", "--i", "0.01", "--j", "2", "--k", "60", "--images", images])
}

fn test(image: &Path, model: &Path) -> Output {
    trainyard(model, &[], &["test", "--i", "0.01", "--j", "2", "--k", "60", "--image", image.to_str().unwrap()])
}

fn stdout(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(text.starts_with("error: "), "{text}");
    text
}

/// A refusal that answers nothing.
fn refused(output: &Output) -> String {
    assert!(!String::from_utf8_lossy(&output.stdout).contains("probabilities"));
    error(output)
}

/// A grey picture of class 0 (bright above) or 1 (bright below), different for each number.
fn picture(class: u8, number: u8) -> image::GrayImage {
    image::GrayImage::from_fn(8, 8, |x, y| {
        let bright = (y < 4) == (class == 0);
        Luma([if bright { 180 } else { 60 }
            + number.wrapping_mul(7).wrapping_add(x as u8 * 13).wrapping_add(y as u8 * 29) % 50])
    })
}

/// `count` pictures a class in the folders `bottom` and `top`.
fn dataset(count: u8) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (class, label) in ["top", "bottom"].into_iter().enumerate() {
        fs::create_dir(root.path().join(label)).unwrap();
        for number in 0..count {
            picture(class as u8, number).save(root.path().join(label).join(format!("{number}.png"))).unwrap();
        }
    }
    root
}

#[test]
fn training_and_testing_go_together() {
    let (images, model) = (dataset(25), tempfile::tempdir().unwrap());
    let trained = train(images.path(), model.path(), &[]);
    assert!(trained.status.success(), "{trained:?}");
    let lines = stdout(&trained);
    let result = lines.last().unwrap();
    assert!(result.get("step").is_none());
    assert_eq!(result["accuracy"], 1.0);
    assert_eq!(
        (&result["train_images"], &result["validation_images"], &result["classes"]),
        (&40.into(), &10.into(), &2.into())
    );
    assert!(result["val_loss"].as_f64().unwrap() < 0.3);
    let last_step = &lines[lines.len() - 2];
    assert_eq!(last_step["step"], 60);
    assert!(last_step["loss"].is_number() && last_step["accuracy"].is_number());
    for (class, label) in [(0, "top"), (1, "bottom")] {
        let unseen = model.path().join("unseen.bmp");
        picture(class, 200).save(&unseen).unwrap();
        let tested = test(&unseen, model.path());
        assert!(tested.status.success(), "{tested:?}");
        assert!(tested.stderr.is_empty(), "{tested:?}");
        let answer = stdout(&tested).pop().unwrap();
        assert_eq!(answer["label"], label);
        assert_eq!(answer["accuracy"], answer["probabilities"][label]);
        assert!(answer["accuracy"].as_f64().unwrap() > 0.5);
        assert_eq!(answer["probabilities"].as_object().unwrap().len(), 2);
    }
    let mut left: Vec<_> = fs::read_dir(model.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, ["evaluation.json", "model.onnx", "model.safetensors", "unseen.bmp"]);
    let figures = fs::read(model.path().join("evaluation.json")).unwrap();
    let figures: serde_json::Value = serde_json::from_slice(&figures).unwrap();
    let images: u64 = figures["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|cell| cell.as_u64().unwrap())
        .sum();
    assert_eq!(figures["images"], images);
    assert!(figures["calibration"]["temperature"].as_f64().unwrap() > 0.0, "{figures}");
}

#[test]
fn equal_runs_give_equal_bytes_and_other_seeds_others() {
    let images = dataset(25);
    let run = |environment: &[(&str, &str)]| {
        let model = tempfile::tempdir().unwrap();
        let output = train(images.path(), model.path(), environment);
        assert!(output.status.success(), "{output:?}");
        let files = ["model.safetensors", "model.onnx"].map(|name| fs::read(model.path().join(name)).unwrap());
        (stdout(&output).pop().unwrap(), files)
    };
    for isa in ["baseline", "avx2", "avx512"] {
        if trainyard::trainer::nn::kernels::Isa::named(isa).is_some() {
            assert_eq!(run(&[("TRAINYARD_ISA", isa)]), run(&[("TRAINYARD_ISA", isa)]), "{isa}");
        }
    }
    assert_ne!(run(&[("TRAINYARD_SEED", "1")]).1, run(&[("TRAINYARD_SEED", "2")]).1);
    assert_eq!(run(&[("TRAINYARD_SEED", "0")]), run(&[]));
}

#[test]
fn one_training_for_several_step_counts_gives_what_each_alone_gives() {
    let (images, root) = (dataset(25), tempfile::tempdir().unwrap());
    let with = |model: &Path, environment: &[(&str, &str)], i: &str, j: &str, k: &str| {
        let folder = images.path().to_str().unwrap();
        let output = trainyard(model, environment, &["train", "--i", i, "--j", j, "--k", k, "--images", folder]);
        assert!(output.status.success(), "{output:?}");
        stdout(&output).into_iter().filter(|line| line.get("step").is_none()).collect::<Vec<_>>()
    };
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    for i in ["0.001", "0.01", "0.1"] {
        for j in ["1", "2", "4"] {
            let together = root.path().join(format!("{i}-{j}"));
            fs::create_dir(&together).unwrap();
            let results = with(&together, &[], i, j, "30,15,60");
            assert_eq!(results.len(), 3);
            for (k, result) in ["15", "30", "60"].into_iter().zip(&results) {
                let alone = tempfile::tempdir().unwrap();
                assert_eq!(with(alone.path(), &[], i, j, k), std::slice::from_ref(result));
                assert_eq!(weights(alone.path()), weights(&together.join(format!("k{k}"))), "--i {i} --j {j} --k {k}");
            }
        }
    }
    // A server says where each model goes.
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    [&one, &two].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let job = serde_json::json!([{ "k": 15, "run": "a", "folder": one }, { "k": 30, "run": "b", "folder": two }]);
    with(root.path(), &[("TRAINYARD_JOB", &job.to_string())], "0.01", "2", "15,30");
    assert_eq!(weights(&one), weights(&root.path().join("0.01-2/k15")));
    assert_eq!(weights(&two), weights(&root.path().join("0.01-2/k30")));
    for bad in ["[]", "no JSON", &job.to_string().replace("30", "31")] {
        let folder = images.path().to_str().unwrap();
        let args = ["train", "--i", "0.01", "--j", "1", "--k", "15,30", "--images", folder];
        assert!(error(&trainyard(root.path(), &[("TRAINYARD_JOB", bad)], &args)).contains("TRAINYARD_JOB"));
    }
}

#[test]
fn links_to_stored_images_are_followed_and_names_do_not_matter() {
    let (images, links, model) = (dataset(12), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for label in ["top", "bottom"] {
        fs::create_dir(links.path().join(label)).unwrap();
        for number in 0..12 {
            let name = links.path().join(label).join(format!("renamed-{}", 99 - number));
            symlink(images.path().join(label).join(format!("{number}.png")), name).unwrap();
        }
    }
    let linked = train(links.path(), model.path(), &[]);
    assert!(linked.status.success(), "{linked:?}");
    let weights = fs::read(model.path().join("model.safetensors")).unwrap();
    assert!(train(images.path(), model.path(), &[]).status.success());
    assert_eq!(fs::read(model.path().join("model.safetensors")).unwrap(), weights);
    fs::remove_file(images.path().join("top/3.png")).unwrap();
    assert!(refused(&train(links.path(), model.path(), &[])).contains("renamed-96"));
}

#[test]
fn colour_and_mixed_formats_and_sizes_are_learned_from() {
    let (images, model) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (label, hue) in [("red", [220, 40, 40]), ("blue", [40, 40, 220])] {
        fs::create_dir(images.path().join(label)).unwrap();
        for number in 0..15u8 {
            let side = 9 + u32::from(number % 3) * 4;
            let picture = image::RgbImage::from_fn(side, side + 2, |x, _| {
                Rgb(hue.map(|value: u8| value + number + (x % 5) as u8))
            });
            let extension = ["png", "jpg", "webp", "gif", "tiff"][usize::from(number % 5)];
            picture.save(images.path().join(label).join(format!("{number}.{extension}"))).unwrap();
        }
    }
    picture(0, 1).save(images.path().join("red/grey.png")).unwrap();
    picture(0, 1).save(images.path().join("unlabelled.png")).unwrap();
    let trained = train(images.path(), model.path(), &[]);
    assert!(trained.status.success(), "{trained:?}");
    assert!(String::from_utf8_lossy(&trained.stderr).contains("1 image(s) without a label"));
    let tested = test(&images.path().join("blue/1.jpg"), model.path());
    assert_eq!(stdout(&tested).pop().unwrap()["label"], "blue");
}

#[test]
fn folders_that_cannot_be_learned_from_say_what_to_do() {
    let model = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    assert!(refused(&train(empty.path(), model.path(), &[])).contains("holds no images"));
    assert!(refused(&train(&empty.path().join("nowhere"), model.path(), &[])).contains("nowhere"));

    picture(0, 0).save(empty.path().join("loose.png")).unwrap();
    assert!(
        refused(&train(empty.path(), model.path(), &[]))
            .contains("the images have no labels: put them in one folder per class")
    );

    let one_class = dataset(5);
    fs::remove_dir_all(one_class.path().join("top")).unwrap();
    assert!(refused(&train(one_class.path(), model.path(), &[])).contains("\"bottom\""));

    let small = dataset(5);
    for number in 1..5 {
        fs::copy(small.path().join("top/0.png"), small.path().join(format!("top/{number}.png"))).unwrap();
    }
    let text = refused(&train(small.path(), model.path(), &[]));
    assert!(text.contains("\"top\"") && text.contains("at least 2"), "{text}");

    let broken = dataset(5);
    fs::write(broken.path().join("top/2.png"), b"no image").unwrap();
    let whole = fs::read(broken.path().join("top/3.png")).unwrap();
    fs::write(broken.path().join("top/4.png"), &whole[..whole.len() / 2]).unwrap();
    let text = error(&train(broken.path(), model.path(), &[]));
    assert!(text.contains("top/2.png") && text.contains("top/4.png"), "{text}");
    assert!(!model.path().join("model.safetensors").exists());
    // One in ten is left out, and said.
    fs::write(broken.path().join("top/2.png"), whole).unwrap();
    picture(0, 100).save(broken.path().join("top/5.png")).unwrap();
    let trained = train(broken.path(), model.path(), &[]);
    assert!(trained.status.success(), "{trained:?}");
    assert!(String::from_utf8_lossy(&trained.stderr).contains("top/4.png"), "{trained:?}");
}

#[test]
fn training_that_breaks_down_and_bad_settings_say_what_to_change() {
    let (images, model) = (dataset(8), tempfile::tempdir().unwrap());
    let folder = images.path().to_str().unwrap();
    let with = |i: &str, j: &str, k: &str| {
        trainyard(model.path(), &[], &["train", "--i", i, "--j", j, "--k", k, "--images", folder])
    };
    assert!(refused(&with("1e30", "2", "50")).contains("smaller --i"));
    for (i, j, k) in
        [("0", "1", "1"), ("-1", "1", "1"), ("nan", "1", "1"), ("1", "0", "1"), ("1", "65", "1"), ("1", "1", "0")]
    {
        let refused = with(i, j, k);
        assert!(!refused.status.success(), "{i} {j} {k}");
        assert!(refused.stdout.is_empty() && String::from_utf8_lossy(&refused.stderr).contains("error"), "{refused:?}");
    }
    assert!(refused(&train(images.path(), model.path(), &[("TRAINYARD_SEED", "x")])).contains("TRAINYARD_SEED"));
    assert!(refused(&train(images.path(), model.path(), &[("TRAINYARD_ISA", "mmx")])).contains("TRAINYARD_ISA"));
    assert!(refused(&train(images.path(), &model.path().join("missing"), &[])).contains("write the model"));
}

#[test]
fn models_and_images_that_cannot_be_used_say_what_to_do() {
    let (images, model) = (dataset(8), tempfile::tempdir().unwrap());
    let (file, good) = (model.path().join("model.safetensors"), images.path().join("top/0.png"));
    assert!(refused(&test(&good, model.path())).contains("run `train` first"));
    assert!(train(images.path(), model.path(), &[]).status.success());
    let bad = images.path().join("bad.png");
    fs::write(&bad, b"not an image").unwrap();
    assert!(refused(&test(&bad, model.path())).contains("bad.png"));
    assert!(refused(&test(&images.path().join("none.png"), model.path())).contains("none.png"));

    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut long_header = whole.clone();
    long_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut lying = whole.clone();
    let side = whole.windows(12).position(|window| window == b"\\\"layers\\\":2").unwrap();
    lying[side + 11] = b'3';
    for damaged in [&b""[..], b"short", &whole[..whole.len() - 4], &flipped, &long_header, &lying] {
        fs::write(&file, damaged).unwrap();
        assert!(refused(&test(&good, model.path())).contains("train again"));
    }
    fs::write(&file, whole).unwrap();
    assert!(test(&good, model.path()).status.success());
}

#[test]
fn either_model_file_gives_the_same_digits() {
    let (images, model) = (dataset(25), tempfile::tempdir().unwrap());
    assert!(train(images.path(), model.path(), &[("TRAINYARD_DATASET_VERSION", "12")]).status.success());
    let image = images.path().join("top/3.png");
    let (tensors, onnx) = (model.path().join("model.safetensors"), model.path().join("model.onnx"));
    assert!(String::from_utf8_lossy(&fs::read(&tensors).unwrap()).contains("\\\"dataset_version\\\":\\\"12\\\""));
    let answer = test(&image, model.path()).stdout;
    let whole = fs::read(&onnx).unwrap();
    // While there is a safetensors file, the other does not matter.
    fs::write(&onnx, b"damaged").unwrap();
    assert_eq!(test(&image, model.path()).stdout, answer);
    fs::remove_file(&tensors).unwrap();
    assert!(refused(&test(&image, model.path())).contains("model.onnx is not a usable model"));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&b""[..], b"\x08", &whole[..whole.len() - 4], &flipped] {
        fs::write(&onnx, damaged).unwrap();
        assert!(refused(&test(&image, model.path())).contains("train again"));
    }
    fs::write(&onnx, whole).unwrap();
    assert_eq!(test(&image, model.path()).stdout, answer);
}

#[test]
fn a_folder_of_images_gets_a_line_each() {
    let (images, model) = (dataset(20), tempfile::tempdir().unwrap());
    assert!(train(images.path(), model.path(), &[]).status.success());
    picture(0, 77).save(images.path().join("loose.png")).unwrap();
    let folder = images.path().to_str().unwrap();
    let all = || trainyard(model.path(), &[], &["test", "--i", "0.01", "--j", "2", "--k", "60", "--images", folder]);
    let lines = stdout(&all());
    let named: Vec<_> = lines.iter().map(|line| line["image"].as_str().unwrap().to_owned()).collect();
    assert_eq!((named.len(), named[0].as_str(), named[20].as_str()), (41, "bottom/0.png", "loose.png"));
    assert!(named.is_sorted_by(|a, b| Path::new(a) < Path::new(b)));
    for (name, line) in named.iter().zip(&lines).step_by(7) {
        let mut alone = stdout(&test(&images.path().join(name), model.path())).pop().unwrap();
        alone["image"] = name.as_str().into();
        assert_eq!(*line, alone);
    }
    fs::write(images.path().join("top/0.png"), b"no image").unwrap();
    let output = all();
    assert!(error(&output).contains("1 of 41"));
    let lines = stdout(&output);
    assert_eq!((lines.len(), &lines[21]["image"]), (41, &"top/0.png".into()));
    assert!(lines[21]["error"].as_str().unwrap().contains("not a PNG"), "{}", lines[21]);
}

#[test]
fn instruction_sets_reach_the_same_result() {
    let images = dataset(25);
    for isa in trainyard::trainer::nn::kernels::Isa::available() {
        let model = tempfile::tempdir().unwrap();
        let trained = train(images.path(), model.path(), &[("TRAINYARD_ISA", isa.name())]);
        assert_eq!(stdout(&trained).pop().unwrap()["accuracy"], 1.0, "{isa}");
    }
}

/// A training that goes on for as long as nobody stops it, from its first line on.
fn endless(images: &Path, model: &Path, k: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = process::trainyard();
    command.args(["train", "--json", "--i", "0.01", "--j", "1", "--k", k, "--images"]).arg(images);
    let mut child = command.env("TRAINYARD_MODEL_DIR", model).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    (child, lines)
}

#[test]
fn a_signal_ends_training_and_leaves_whole_files_or_none() {
    let images = dataset(12);
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        // A model after each step, so that the signal comes in the middle of writing one now and then.
        let steps: Vec<String> = (1..=63).map(|step| step.to_string()).collect();
        let steps = format!("{},1000000000", steps.join(","));
        for lines in [0, 7, 31] {
            let model = tempfile::tempdir().unwrap();
            let (mut child, mut stdout) = endless(images.path(), model.path(), &steps);
            for _ in 0..lines {
                stdout.read_line(&mut String::new()).unwrap();
            }
            kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(status));
            for folder in fs::read_dir(model.path()).unwrap().map(|entry| entry.unwrap().path()) {
                let mut files: Vec<_> =
                    fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                files.sort_unstable();
                assert_eq!(files, ["evaluation.json", "model.onnx", "model.safetensors"], "{folder:?}");
                let tested = test(&images.path().join("top/0.png"), &folder);
                assert!(tested.status.success(), "{tested:?}");
            }
        }
    }
}

#[test]
fn progress_comes_with_the_clock() {
    let (images, model) = (dataset(12), tempfile::tempdir().unwrap());
    let (mut child, mut stdout) = endless(images.path(), model.path(), "1,1000000000");
    let mut lines = Vec::new();
    let began = Instant::now();
    while lines.len() < 4 {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        lines.push(serde_json::from_str::<Value>(&line).unwrap());
    }
    // The result of one step, and then a point each half second.
    assert!(began.elapsed() > Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(lines[0]["k"], 1);
    for line in &lines[1..] {
        let number = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name} in {line}"));
        assert!(number("step") > 1.0 && number("images_per_second") > 0.0 && number("seconds_left") > 0.0);
        assert!(number("loss") > 0.0 && (0.0..=1.0).contains(&number("accuracy")));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn without_a_server_people_can_read_it() {
    let (images, model) = (dataset(25), tempfile::tempdir().unwrap());
    let mut command = process::trainyard();
    command.args(["train", "--i", "0.01", "--j", "2", "--k", "30,60", "--images"]).arg(images.path());
    let shown = command.current_dir(model.path()).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.starts_with("images    40 to learn from, 10 held out, 2 classes\n"), "{text}");
    assert!(text.contains("    k30/model.safetensors\n") && text.contains("    k60/model.safetensors\n"), "{text}");
    assert!(text.ends_with("\naccuracy: 1\n"), "{text}");
    assert!(!text.contains(['{', '\r', '\u{1b}']), "{text}");
    // A server, or a flag, gets JSON.
    for (flags, run) in [(&["--json"][..], ""), (&[], "run_0000000000016")] {
        let mut command = process::trainyard();
        command.args(["train", "--i", "0.01", "--j", "2", "--k", "60"]).args(flags).arg("--images").arg(images.path());
        let output = command.current_dir(model.path()).env("TRAINYARD_RUN_ID", run).output().unwrap();
        assert_eq!(stdout(&output).pop().unwrap()["accuracy"], 1.0);
    }
    let help = process::trainyard().args(["train", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for word in ["--i", "--j", "--k", "--images", "--json", "TRAINYARD_SEED", "TRAINYARD_MODEL_DIR", "1000,2000,4000"] {
        assert!(help.contains(word), "{word} in {help}");
    }
}
