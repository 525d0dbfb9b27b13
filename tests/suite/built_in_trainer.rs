//! The built-in trainer as its users meet it: the real binary, on small folders of images.

use crate::harness::process;
use image::{Luma, Rgb};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// Runs the binary in `model` with a clean environment.
fn trainyard(model: &Path, environment: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = process::trainyard();
    command.args(args).env_clear().env("TRAINYARD_MODEL_DIR", model);
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
    assert!(!String::from_utf8_lossy(&output.stdout).contains("probabilities"));
    text
}

/// A grey picture of class 0 (bright above) or 1 (bright below), different for each number.
fn picture(class: u8, number: u8) -> image::GrayImage {
    image::GrayImage::from_fn(8, 8, |x, y| {
        let bright = (y < 4) == (class == 0);
        Luma([if bright { 180 } else { 60 } + (number * 7 + x as u8 * 13 + y as u8 * 29) % 50])
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
    let left: Vec<_> = fs::read_dir(model.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "model.safetensors" || name == "unseen.bmp"), "{left:?}");
}

#[test]
fn equal_runs_give_equal_bytes_and_other_seeds_others() {
    let images = dataset(25);
    let run = |environment: &[(&str, &str)]| {
        let model = tempfile::tempdir().unwrap();
        let output = train(images.path(), model.path(), environment);
        assert!(output.status.success(), "{output:?}");
        (stdout(&output).pop().unwrap(), fs::read(model.path().join("model.safetensors")).unwrap())
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
    assert!(error(&train(links.path(), model.path(), &[])).contains("renamed-96"));
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
    assert!(error(&train(empty.path(), model.path(), &[])).contains("holds no images"));
    assert!(error(&train(&empty.path().join("nowhere"), model.path(), &[])).contains("nowhere"));

    picture(0, 0).save(empty.path().join("loose.png")).unwrap();
    assert!(
        error(&train(empty.path(), model.path(), &[]))
            .contains("the images have no labels: put them in one folder per class")
    );

    let one_class = dataset(5);
    fs::remove_dir_all(one_class.path().join("top")).unwrap();
    assert!(error(&train(one_class.path(), model.path(), &[])).contains("\"bottom\""));

    let small = dataset(5);
    for number in 1..5 {
        fs::copy(small.path().join("top/0.png"), small.path().join(format!("top/{number}.png"))).unwrap();
    }
    let text = error(&train(small.path(), model.path(), &[]));
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
    assert!(error(&with("1e30", "2", "50")).contains("smaller --i"));
    for (i, j, k) in
        [("0", "1", "1"), ("-1", "1", "1"), ("nan", "1", "1"), ("1", "0", "1"), ("1", "65", "1"), ("1", "1", "0")]
    {
        let refused = with(i, j, k);
        assert!(!refused.status.success(), "{i} {j} {k}");
        assert!(refused.stdout.is_empty() && String::from_utf8_lossy(&refused.stderr).contains("error"), "{refused:?}");
    }
    assert!(error(&train(images.path(), model.path(), &[("TRAINYARD_SEED", "x")])).contains("TRAINYARD_SEED"));
    assert!(error(&train(images.path(), model.path(), &[("TRAINYARD_ISA", "mmx")])).contains("TRAINYARD_ISA"));
    assert!(error(&train(images.path(), &model.path().join("missing"), &[])).contains("write the model"));
}

#[test]
fn models_and_images_that_cannot_be_used_say_what_to_do() {
    let (images, model) = (dataset(8), tempfile::tempdir().unwrap());
    let (file, good) = (model.path().join("model.safetensors"), images.path().join("top/0.png"));
    assert!(error(&test(&good, model.path())).contains("run `train` first"));
    assert!(train(images.path(), model.path(), &[]).status.success());
    let bad = images.path().join("bad.png");
    fs::write(&bad, b"not an image").unwrap();
    assert!(error(&test(&bad, model.path())).contains("bad.png"));
    assert!(error(&test(&images.path().join("none.png"), model.path())).contains("none.png"));

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
        assert!(error(&test(&good, model.path())).contains("train again"));
    }
    fs::write(&file, whole).unwrap();
    assert!(test(&good, model.path()).status.success());
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
