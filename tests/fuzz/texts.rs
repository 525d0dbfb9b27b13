//! Texts: what scripts print, names, labels, numbers, ids, urls, settings.

use super::{ROOM, Target, lines, run};
use std::net::IpAddr;
use trainyard::config::{Flags, RawConfig, Surroundings};
use trainyard::domain::accuracy::Accuracy;
use trainyard::domain::experiment::HyperParameters;
use trainyard::domain::ids::{DatasetId, RunId};
use trainyard::domain::name::{IMAGE_EXTENSIONS, ImageName, Label, MAX_IMAGE_NAME, MAX_LABEL, MAX_NAME, Name};
use trainyard::domain::text::printable;
use trainyard::executor::sieve::{Secrets, Sieve};
use trainyard::ingest::fetch::{FetchPolicy, Fetcher, is_public};
use trainyard::trainer::output::{self, MAX_METRICS, MAX_POINTS, Outcome, OutputParser, Point, Printed};

fn parsed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Point>, Printed) {
    let mut parser = OutputParser::new();
    let mut points: Vec<Point> = pieces.flat_map(|piece| parser.feed(piece)).collect();
    let (rest, printed) = parser.finish();
    points.extend(rest);
    (points, printed)
}

#[test]
fn trainer_output() {
    let examples = include_str!("../data/fuzz/outputs.txt").split("\n---\n").map(|one| one.as_bytes().to_vec());
    let target = Target {
        name: "trainer_output",
        cases: 3000,
        examples: examples.collect(),
        words: &[
            "accuracy",
            "val_accuracy",
            "acc",
            "step=",
            "{",
            "}",
            "'accuracy': ",
            "\"step\": 3, ",
            ": ",
            "=",
            "0.5",
            "93%",
            "nan",
            "\n",
            "\r",
            "tensor(",
            "np.float64(",
            ")",
            "[",
            "]",
            "1e999",
            "-0",
            "\u{1b}[2K",
            "\u{8}",
            "label",
            "loss",
        ],
        room: ROOM,
    };
    run(&target, |bytes| {
        let (points, printed) = parsed(std::iter::once(bytes));
        // However the pipe cuts it.
        assert_eq!(parsed(bytes.chunks(7)), (points.clone(), printed.clone()));
        assert!(points.len() <= MAX_POINTS && points.iter().all(|point| point.metrics.len() <= MAX_METRICS));
        assert!(points.iter().flat_map(|point| &point.metrics).all(|(_, value)| value.is_finite()));
        for outcome in [printed.outcome(), printed.outcome_for_steps(1000), output::combine(&printed, &printed)] {
            if let Outcome::Result(result) = outcome {
                assert!((0.0..=1.0).contains(&result.accuracy.value()));
                // What is stored can be read again.
                assert!(Accuracy::parse(result.accuracy.text()).is_ok(), "{:?}", result.accuracy);
            }
        }
    });
}

#[test]
fn logs() {
    let secrets = Secrets::new(&[b"hunter2hunter2".to_vec(), b"line one\nline two".to_vec()]);
    let target = Target {
        name: "logs",
        cases: 3000,
        examples: lines(
            "loss 0.5 hunter2hunter2 done\nty_0123456789abcdefghij\nepoch 1\u{1b}[31mred\u{1b}[0m line one",
        ),
        words: &["hunter2hunter2", "line one", "line two", "ty_", "0123456789abcdef", "\n", "\r", "\u{1b}]0;"],
        room: ROOM,
    };
    run(&target, |bytes| {
        let clean = |size: usize| {
            let mut sieve = Sieve::new(&secrets);
            let mut clean: Vec<u8> = bytes.chunks(size).flat_map(|piece| sieve.sift(piece).to_vec()).collect();
            clean.extend_from_slice(sieve.rest());
            clean
        };
        let whole = clean(usize::MAX);
        assert_eq!(clean(5), whole);
        assert!(!whole.windows(14).any(|window| window == b"hunter2hunter2"));
        let shown = printable(&String::from_utf8_lossy(&whole)).into_owned();
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}']));
    });
}

#[test]
fn names() {
    let target = Target {
        name: "names",
        cases: 5000,
        examples: lines(
            "cats\ndefault_1\na.b-c_d\nrun_0000000000016\ncat/12.jpg\ncat_012.jpg\nIMG_0001.JPG\nmy photo (3).png\n\
             ../../etc/passwd\nC:\\x\\y.png\nhund\u{e9}.webp\n\u{732b}/1.png\n.hidden\na..b\nCON.png\n%2e%2e%2f\na\u{202e}gpj.exe",
        ),
        words: &[
            "/", "\\", "..", ".", "\0", "\n", "run_", ".png", ".tiff", " ", "\u{301}", "\u{feff}", "\u{200f}", "%", "~",
        ],
        room: ROOM,
    };
    run(&target, |bytes| {
        let text = &String::from_utf8_lossy(bytes);
        if let Ok(name) = Name::parse("name", text) {
            assert!(name.as_str().len() <= MAX_NAME && name.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(!name.as_str().starts_with(['.', '-']) && text.parse::<RunId>().is_err());
        }
        for label in [Label::parse(text).ok(), Label::from_file_name(text)].into_iter().flatten() {
            is_folder_entry(label.as_str(), MAX_LABEL);
            assert_eq!(Label::parse(label.as_str()).unwrap(), label);
        }
        let image = ImageName::from_upload(text, "fallback", "png");
        is_folder_entry(image.as_str(), MAX_IMAGE_NAME);
        is_folder_entry(image.marked("0123456789abcdef").as_str(), 255);
        let ending = image.as_str().rsplit('.').next().unwrap().to_ascii_lowercase();
        assert!(IMAGE_EXTENSIONS.contains(&ending.as_str()), "{image:?}");
        let _ = text.parse::<DatasetId>();
        let _ = printable(text);
    });
}

#[track_caller]
fn is_folder_entry(text: &str, most: usize) {
    assert!(!text.is_empty() && text.len() <= most, "{text:?}");
    assert!(!text.contains(['/', '\\', '\0', '\n']) && !text.starts_with('.'), "{text:?}");
}

#[test]
fn numbers() {
    let target = Target {
        name: "numbers",
        cases: 5000,
        examples: lines(
            "0.001|1|1000\n1e-3|4|4000\n0.1|2|9223372036854775807\n.5|01|+3\n0x1p3|1_000| 7 \n1e400|-1|1.0\ninf|nan|\u{663}",
        ),
        words: &["|", "e", "E", ".", "-", "+", "_", "0", "inf", "nan", "1e309", "18446744073709551616", " "],
        room: ROOM,
    };
    run(&target, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let mut parts = text.splitn(3, '|');
        let [rate, layers, steps] = [(); 3].map(|()| parts.next().unwrap_or_default());
        if let Ok(found) = HyperParameters::parse(rate, layers, steps) {
            assert!(found.learning_rate.get() > 0.0 && found.learning_rate.get().is_finite());
            // The command line has them as they were meant.
            let printed = found.learning_rate.to_string();
            assert_eq!(printed.parse::<f64>().unwrap(), found.learning_rate.get(), "{printed}");
        }
        if let Ok(accuracy) = Accuracy::parse(&text) {
            assert!((0.0..=1.0).contains(&accuracy.value()));
            assert_eq!(Accuracy::parse(accuracy.text()).unwrap(), accuracy);
        }
    });
}

#[test]
fn urls() {
    let fetcher = Fetcher::new(FetchPolicy::default());
    let target = Target {
        name: "urls",
        cases: 5000,
        examples: lines(include_str!("../data/fuzz/urls.txt")),
        words: &[
            "http://",
            "https://",
            "//",
            "@",
            ":",
            "#",
            "?",
            "%00",
            "%2e",
            "[::1]",
            "[::ffff:",
            "127.0.0.1",
            "0x7f",
            "0177",
            "169.254.169.254",
            "localhost",
            "\\",
            "\t",
            "\n",
            "\u{3002}",
            "\u{ff10}",
            ".",
            "xn--",
            "..",
        ],
        room: ROOM,
    };
    run(&target, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if fetcher.check(&text).is_ok() {
            // Whoever fetches reads it the same way.
            let url = url::Url::parse(text.trim()).unwrap();
            assert!(["http", "https"].contains(&url.scheme()) && url.username().is_empty() && url.password().is_none());
            match url.host().unwrap() {
                url::Host::Domain(name) => {
                    let name = name.trim_end_matches('.');
                    assert!(name != "localhost" && !name.ends_with(".localhost"));
                    assert!(name.parse::<IpAddr>().map_or(true, is_public), "{name}");
                }
                url::Host::Ipv4(address) => assert!(is_public(address.into()), "{address}"),
                url::Host::Ipv6(address) => assert!(is_public(address.into()), "{address}"),
            }
        }
    });
}

#[test]
fn settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let whole = include_str!("../../config.toml");
    let mut examples: Vec<Vec<u8>> = whole.split("\n[").map(|part| format!("[{part}").into_bytes()).collect();
    examples.push(whole.as_bytes().to_vec());
    let target = Target {
        name: "settings",
        cases: 1500,
        examples,
        words: &[
            "[",
            "]",
            "[[",
            "=",
            "\"",
            "'''",
            "{",
            "}",
            "-1",
            "0",
            "1e999",
            "nan",
            "99999999999",
            "true",
            "[server]\n",
            "[jobs]\n",
            "a.b.c=",
            "\\u",
        ],
        room: ROOM,
    };
    let surroundings = Surroundings::here(None);
    run(&target, |bytes| {
        std::fs::write(&file, bytes).unwrap();
        let flags = Flags { config: Some(file.clone()), ..Flags::default() };
        let text = String::from_utf8_lossy(bytes);
        let variable = |name: &str| (name == "TRAINYARD_TRAINER_ENV").then(|| text.chars().take(40).collect());
        for read in [RawConfig::load(&flags, |_| None), RawConfig::load(&Flags::default(), variable)] {
            // What is wrong is said, and what is taken is within its bounds.
            match read.and_then(|raw| raw.check(surroundings.clone())) {
                Ok(config) => assert!(config.concurrency > 0),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    });
}
