//! Transfer learning as its users meet it: the real binary, a small MobileNet, coloured pictures.

use crate::harness::{Yard, process};
use std::path::{Path, PathBuf};
use std::process::Output;

fn data(name: &str) -> PathBuf {
    std::path::absolute(Path::new("tests/data/backbone").join(name)).unwrap()
}

/// `trainyard train` on `images` with the backbone at `backbone`.
fn train_command(images: &Path, model: &Path, backbone: &Path, environment: &[(&str, &Path)]) -> std::process::Child {
    let mut command = process::trainyard();
    command.args(["train", "--json", "--i", "0.05", "--j", "2", "--k", "60", "--images"]).arg(images);
    command.arg("--backbone").arg(backbone).env("TRAINYARD_MODEL_DIR", model).envs(environment.iter().copied());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

fn train(images: &Path, model: &Path, backbone: &Path, environment: &[(&str, &Path)]) -> Output {
    train_command(images, model, backbone, environment).wait_with_output().unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(text.starts_with("error: "), "{text}");
    text
}

#[cfg(not(feature = "backbone"))]
#[test]
fn a_build_without_backbones_says_which_one_has_them() {
    let place = tempfile::tempdir().unwrap();
    let text = error(&train(place.path(), place.path(), &data("tiny.onnx"), &[]));
    assert!(text.contains("trainyard-backbone") && text.contains("scripts/build-release"), "{text}");
    let yard = Yard::new().set("trainer", "backbone", data("tiny.onnx").to_str().unwrap());
    let text = yard.refusal(&[]);
    assert!(text.contains("trainer.backbone") && text.contains("trainyard-backbone"), "{text}");
}

#[cfg(feature = "backbone")]
mod with_the_feature {
    use super::*;
    use crate::harness::Form;
    use crate::harness::yard::tree;
    use image::{Rgb, RgbImage};
    use serde_json::Value;
    use std::collections::BTreeMap;
    use std::fs;
    use tempfile::TempDir;

    /// A picture of one of three hues with a pattern, of a size of its own.
    fn picture(class: usize, number: u32) -> RgbImage {
        let hue = [[200, 60, 40], [50, 170, 60], [60, 70, 210]][class];
        RgbImage::from_fn(20 + number % 7, 24 + number % 5, |x, y| {
            Rgb(hue.map(|value: u32| (value + (number * 7 + x * 5 + y * 3) % 40) as u8))
        })
    }

    fn png(picture: &RgbImage) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    const LABELS: [&str; 3] = ["blue", "green", "red"];

    fn dataset(count: u32) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (class, label) in LABELS.iter().rev().enumerate() {
            fs::create_dir(root.path().join(label)).unwrap();
            for number in 0..count {
                picture(class, number).save(root.path().join(label).join(format!("{number}.png"))).unwrap();
            }
        }
        root
    }

    fn lines(output: &Output) -> Vec<Value> {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn result(output: &Output) -> Value {
        lines(output).pop().unwrap()
    }

    fn test(image: &Path, model: &Path, environment: &[(&str, &Path)]) -> Output {
        let mut command = process::trainyard();
        command.args(["test", "--i", "0.05", "--j", "2", "--k", "60", "--image"]).arg(image);
        command.env("TRAINYARD_MODEL_DIR", model).envs(environment.iter().copied()).output().unwrap()
    }

    /// What the cache holds.
    fn kept(cache: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        tree(cache).into_keys().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    #[test]
    fn a_head_learns_and_names_pictures() {
        let (images, model) = (dataset(14), tempfile::tempdir().unwrap());
        for backbone in ["tiny.onnx", "plain.onnx"] {
            let trained = result(&train(images.path(), model.path(), &data(backbone), &[]));
            assert_eq!(trained["accuracy"], 1.0, "{backbone}");
            assert_eq!((&trained["train_images"], &trained["validation_images"]), (&33.into(), &9.into()));
            for (class, label) in LABELS.iter().rev().enumerate() {
                let unseen = model.path().join("unseen.png");
                picture(class, 99).save(&unseen).unwrap();
                let answer = result(&test(&unseen, model.path(), &[]));
                assert_eq!(answer["label"], **label, "{backbone}");
                assert_eq!(answer["accuracy"], answer["probabilities"][label]);
            }
        }
        // No model.onnx: the head alone takes no pictures.
        let left: Vec<_> = tree(model.path()).into_keys().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(left, ["evaluation.json", "model.safetensors", "unseen.png"]);
    }

    #[test]
    fn features_are_kept_checked_and_shared() {
        let (images, cache) = (dataset(12), tempfile::tempdir().unwrap());
        let models = [(); 4].map(|()| tempfile::tempdir().unwrap());
        let with_cache: [(&str, &Path); 1] = [("TRAINYARD_CACHE_DIR", cache.path())];
        // Three that begin together make each feature once, and all learn the same.
        let together =
            [0, 1, 2].map(|at: usize| train_command(images.path(), models[at].path(), &data("tiny.onnx"), &with_cache));
        let results = together.map(|child| result(&child.wait_with_output().unwrap()));
        assert!(results.iter().all(|other| *other == results[0]), "{results:?}");
        let weights = |at: usize| fs::read(models[at].path().join("model.safetensors")).unwrap();
        assert!(weights(0) == weights(1) && weights(1) == weights(2));
        let before = kept(cache.path());
        let entries: usize = before.values().map(|bytes| bytes.len().saturating_sub(28)).sum();
        // A hash, 96 features and a seal for each of the 36 pictures, once.
        let width = (entries / 36 - 48) / 4;
        assert_eq!(entries, 36 * (48 + 4 * width), "{before:?}");
        // Without a cache the result is the same.
        assert_eq!(result(&train(images.path(), models[3].path(), &data("tiny.onnx"), &[])), results[0]);
        assert_eq!(weights(3), weights(0));
        // Damage is made good, not trusted.
        for (path, bytes) in before.iter().filter(|(_, bytes)| !bytes.is_empty()).take(3) {
            let mut damaged = bytes.clone();
            damaged[70] ^= 0x40;
            fs::write(path, damaged).unwrap();
        }
        assert_eq!(result(&train(images.path(), models[3].path(), &data("tiny.onnx"), &with_cache)), results[0]);
        assert_eq!(weights(3), weights(0));
        let lengths = |kept: &BTreeMap<PathBuf, Vec<u8>>| kept.values().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&kept(cache.path())), lengths(&before));
    }

    #[test]
    fn pictures_that_cannot_be_read_are_named() {
        let (images, model) = (dataset(12), tempfile::tempdir().unwrap());
        fs::write(images.path().join("red/3.png"), b"no picture").unwrap();
        let trained = train(images.path(), model.path(), &data("tiny.onnx"), &[]);
        assert_eq!(result(&trained)["accuracy"], 1.0);
        assert!(String::from_utf8_lossy(&trained.stderr).contains("red/3.png"), "{trained:?}");
        for number in 4..9 {
            fs::write(images.path().join(format!("red/{number}.png")), b"no picture").unwrap();
        }
        let text = error(&train(images.path(), model.path(), &data("tiny.onnx"), &[]));
        assert!(text.contains("one in ten") && text.contains("red/"), "{text}");
    }

    #[test]
    fn a_head_knows_its_backbone() {
        let (images, place, model) = (dataset(8), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (here, there) = (place.path().join("here.onnx"), place.path().join("there.onnx"));
        fs::copy(data("tiny.onnx"), &here).unwrap();
        result(&train(images.path(), model.path(), &here, &[]));
        let picture = images.path().join("red/1.png");
        let first = result(&test(&picture, model.path(), &[]));
        fs::rename(&here, &there).unwrap();
        assert!(error(&test(&picture, model.path(), &[])).contains("missing"));
        assert_eq!(result(&test(&picture, model.path(), &[("TRAINYARD_BACKBONE", &there)])), first);
        fs::copy(data("four.onnx"), &here).unwrap();
        assert!(error(&test(&picture, model.path(), &[])).contains("another one now"));
        assert_eq!(result(&test(&picture, model.path(), &[("TRAINYARD_BACKBONE", &there)])), first);
        assert!(error(&test(&picture, model.path(), &[("TRAINYARD_BACKBONE", &here)])).contains("another one now"));
    }

    #[test]
    fn a_backbone_that_is_none_says_why() {
        let (images, model) = (dataset(8), tempfile::tempdir().unwrap());
        let text = error(&train(images.path(), model.path(), &images.path().join("red/1.png"), &[]));
        assert!(text.contains("no ONNX file"), "{text}");
        let text = error(&train(images.path(), model.path(), Path::new("nowhere.onnx"), &[]));
        assert!(text.contains("nowhere.onnx"), "{text}");
        let mut command = process::trainyard();
        command.args(["train", "--i", "1", "--j", "1", "--k", "1", "--images"]).arg(images.path());
        command.arg("--backbone").arg(data("tiny.onnx")).args(["--backbone-mean", "0.5,0.5,0.5"]);
        let text = error(&command.output().unwrap());
        assert!(text.contains("leave it out"), "{text}");
    }

    #[test]
    fn a_server_trains_on_a_backbone_beside_its_settings() {
        let yard = Yard::new()
            .built_in()
            .set("sweep", "learning_rates", vec![0.05])
            .set("sweep", "layers", vec![2])
            .set("sweep", "steps", vec![60])
            .set("trainer", "backbone", "nets/tiny.onnx");
        fs::create_dir(yard.path("nets")).unwrap();
        let text = yard.refusal(&[]);
        assert!(text.contains("trainer.backbone") && text.contains("nets/tiny.onnx"), "{text}");
        fs::copy(data("tiny.onnx"), yard.path("nets/tiny.onnx")).unwrap();
        let text = Yard::new().set("trainer", "backbone_size", 32).refusal(&[]);
        assert!(text.contains("trainer.backbone is not"), "{text}");
        let server = yard.start();
        server.create_model("m");
        for (class, label) in LABELS.iter().rev().enumerate() {
            for number in 0..6 {
                server.upload("m", "", &format!("{label}/{number}.png"), &png(&picture(class, number)));
            }
        }
        server.trained("m", "default_1", "");
        assert_eq!(server.best("m", "").1, "1.0");
        assert!(!kept(&yard.data("cache")).is_empty());
        let form = Form::new().field("model_name", "m").file("file", "x.png", &png(&picture(1, 50)));
        assert_eq!(server.post("/test", &form).ok()["body"]["label"], "green");
        server.stop();
    }
}
