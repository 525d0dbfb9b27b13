//! What a training script is given: four flags, an environment, a folder of its own, a folder of images.

use crate::harness::{Yard, images};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Writes down the arguments, the environment and the working directory.
const TELLS: &str = "printf '%s\\n' \"$@\" > \"$YARD/args.$TRAINYARD_EXPERIMENT\"\n\
                     tr '\\0' '\\n' < /proc/$$/environ > \"$YARD/env.$TRAINYARD_EXPERIMENT\"\n\
                     pwd -P > \"$YARD/cwd.$TRAINYARD_EXPERIMENT\"\n\
                     echo accuracy=0.5";

fn environment(yard: &Yard, experiment: &str) -> BTreeMap<String, String> {
    let lines = yard.lines(&format!("env.{experiment}"));
    lines.iter().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn the_four_flags_come_last_in_order_and_print_shortest() {
    let yard = Yard::new().one_experiment().train(TELLS);
    let server = yard.start();
    server.model_with_image("m");
    let cases = [
        ("1.0", "1"),
        ("0.001", "0.001"),
        ("1e-3", "0.001"),
        ("10", "10"),
        ("0.10", "0.1"),
        ("1e-7", "0.0000001"),
        ("2.5", "2.5"),
    ];
    for (number, (given, _)) in cases.iter().enumerate() {
        let name = format!("e{number}");
        let query = [
            ("model_name", "m"),
            ("experiment_name", &name),
            ("learning_rate", given),
            ("num_layers", "2"),
            ("num_steps", "2000"),
        ];
        server.get("/createExperiment", &query).ok();
        server.train("m", &name, "");
    }
    server.idle();
    for (number, (_, printed)) in cases.iter().enumerate() {
        let args = yard.lines(&format!("args.e{number}"));
        assert_eq!(args[..7], ["--i", *printed, "--j", "2", "--k", "2000", "--images"]);
        assert_eq!(args.len(), 8);
        assert!(Path::new(&args[7]).is_absolute() && args[7].ends_with('/'), "{}", args[7]);
    }
}

#[test]
fn the_configured_command_stands_before_them_word_for_word() {
    let yard = Yard::new().one_experiment().train("printf '%s\\n' \"$@\" > \"$YARD/args\"; echo accuracy=1");
    let odd = ["sh", "train.sh", "a b", "$(touch /tmp/never)", "*", "", "--flag=é"];
    let yard = yard.set("trainer", "train", odd.map(str::to_owned).to_vec());
    let server = yard.start();
    server.model_with_image("m");
    server.trained("m", "default_1", "");
    let args = yard.lines("args");
    assert_eq!(args[..5], odd[2..]);
    assert_eq!(args[5..8], ["--i", "0.1", "--j"]);
    assert!(!Path::new("/tmp/never").exists());
}

#[test]
fn the_environment_is_what_was_promised_and_nothing_else() {
    let yard = Yard::new()
        .one_experiment()
        .train(TELLS)
        .set("trainer", "env", vec!["CUDA_VISIBLE_DEVICES".to_owned(), "NOT_SET".to_owned()])
        .set("jobs", "concurrency", 1)
        .variable("HOME", "/home/somebody")
        .variable("LANG", "C.UTF-8")
        .variable("CUDA_VISIBLE_DEVICES", "0,1")
        .variable("AWS_SECRET_ACCESS_KEY", "hunter2")
        .variable("RUST_LOG", "info")
        .variable("TRAINYARD_FETCH_TIMEOUT_SECONDS", "9")
        .variable("LD_LIBRARY_PATH", "/nowhere");
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "a.png", &images::png(1));
    let run = server.trained("m", "default_1", "d");
    let id = run["id"].as_str().unwrap();
    let mut found = environment(&yard, "default_1");
    let folder = found["TRAINYARD_MODEL_DIR"].clone();
    assert!(Path::new(&folder).is_absolute() && folder.contains(id), "{folder}");
    let guard = found.remove("TRAINYARD_GUARD");
    assert!(guard.as_ref().is_none_or(|mark| mark.len() <= 64), "a mark that children are known by: {guard:?}");
    let cores = std::thread::available_parallelism().unwrap().to_string();
    let seed = run["seed"].to_string();
    let cache = yard.data("cache");
    let expected = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/home/somebody"),
        ("LANG", "C.UTF-8"),
        ("CUDA_VISIBLE_DEVICES", "0,1"),
        ("PYTHONUNBUFFERED", "1"),
        ("OMP_NUM_THREADS", &cores),
        ("TRAINYARD_RUN_ID", id),
        ("TRAINYARD_MODEL", "m"),
        ("TRAINYARD_EXPERIMENT", "default_1"),
        ("TRAINYARD_DATASET", "d"),
        ("TRAINYARD_DATASET_VERSION", "1"),
        ("TRAINYARD_CACHE_DIR", cache.to_str().unwrap()),
        ("TRAINYARD_CACHE_BYTES", "2147483648"),
        ("TRAINYARD_MODEL_DIR", &folder),
        ("TRAINYARD_SEED", &seed),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(found, expected);
}

#[test]
fn what_the_user_set_stands() {
    let yard = Yard::new()
        .one_experiment()
        .train(TELLS)
        .set("trainer", "env", vec!["TRAINYARD_SEED".to_owned()])
        .variable("OMP_NUM_THREADS", "7")
        .variable("TRAINYARD_SEED", "42");
    let server = yard.start();
    server.model_with_image("m");
    server.trained("m", "default_1", "");
    let found = environment(&yard, "default_1");
    assert_eq!((&*found["OMP_NUM_THREADS"], &*found["TRAINYARD_SEED"]), ("7", "42"));
    assert_eq!(found["TRAINYARD_DATASET"], "");
    let lines = yard.lines("env.default_1");
    assert_eq!(lines.iter().filter(|line| line.starts_with("TRAINYARD_SEED=")).count(), 1);
}

#[test]
fn threads_are_shared_between_runs_but_never_none() {
    let yard = Yard::new().one_experiment().train(TELLS).set("jobs", "concurrency", 200);
    let server = yard.start();
    server.model_with_image("m");
    server.trained("m", "default_1", "");
    assert_eq!(environment(&yard, "default_1")["OMP_NUM_THREADS"], "1");
}

#[test]
fn every_run_works_in_an_empty_folder_of_its_own_that_is_kept() {
    let script = "ls -A > \"$YARD/before.$TRAINYARD_RUN_ID\"\necho \"$TRAINYARD_RUN_ID\" > model.h5\nmkdir deep\n\
                  echo x > \"$TRAINYARD_MODEL_DIR/deep/plot.png\"\n";
    let yard = Yard::new().experiments(3).train(&format!("{script}{TELLS}"));
    let server = yard.start();
    server.model_with_image("m");
    let runs = server.sweep("m");
    server.idle();
    for (number, run) in (1..).zip(&runs) {
        let name = format!("default_{number}");
        let folder = environment(&yard, &name)["TRAINYARD_MODEL_DIR"].clone();
        let real = fs::canonicalize(&folder).unwrap();
        assert_eq!(yard.lines(&format!("cwd.{name}")), [real.to_str().unwrap()]);
        assert!(yard.lines(&format!("before.{run}")).is_empty());
        assert_eq!(fs::read_to_string(real.join("model.h5")).unwrap().trim(), run);
        assert!(real.join("deep/plot.png").exists());
    }
    server.stop();
    let _server = yard.start();
    assert!(environment(&yard, "default_1")["TRAINYARD_MODEL_DIR"].parse::<std::path::PathBuf>().unwrap().exists());
}

#[test]
fn all_runs_of_a_dataset_version_have_one_seed() {
    let yard = Yard::new().experiments(2).train(TELLS);
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    server.idle();
    let seed = |experiment: &str| environment(&yard, experiment)["TRAINYARD_SEED"].parse::<u32>().unwrap();
    let first = seed("default_1");
    assert_eq!(first, seed("default_2"));
    server.upload("m", "", "b.png", &images::png(2));
    server.trained("m", "default_1", "");
    assert_ne!(seed("default_1"), first);
}

#[test]
fn a_script_has_nothing_to_read_and_nothing_of_the_servers_open() {
    let script = "if read line; then echo 'somebody talks to me'; else echo accuracy=0.5; fi\nls -l /proc/$$/fd >&2";
    let yard = Yard::new().one_experiment().train(script);
    let server = yard.start();
    server.model_with_image("m");
    let run = server.trained("m", "default_1", "");
    let log = server.run_log(run["id"].as_str().unwrap());
    assert!(log.contains("accuracy=0.5") && log.lines().filter(|line| line.contains("->")).count() >= 3, "{log}");
    assert!(!log.contains("socket:") && !log.contains("/data/") && !log.contains("/dev/pts"), "{log}");
}

#[test]
fn the_links_lead_to_the_very_bytes_that_were_uploaded() {
    let script = "cd \"$8\"; for file in */*.png *.png; do cp -L \"$file\" \"$YARD/copy.$(basename \"$file\")\"; done; \
                  echo accuracy=1";
    let yard = Yard::new().one_experiment().train(script);
    let server = yard.start();
    server.create_model("m");
    server.upload("m", "", "cat/1.png", &images::png(1));
    server.upload("m", "", "2.png", &images::large_png(200_000));
    server.trained("m", "default_1", "");
    assert_eq!(fs::read(yard.path("copy.1.png")).unwrap(), images::png(1));
    assert_eq!(fs::read(yard.path("copy.2.png")).unwrap(), images::large_png(200_000));
}

#[test]
fn a_script_that_writes_to_its_images_does_not_change_them() {
    let script = "chmod u+w \"$8\"/*.png 2>/dev/null; rm -f \"$8\"/*.png; echo accuracy=1";
    let yard = Yard::new().one_experiment().train(script);
    let server = yard.start();
    server.model_with_image("m");
    server.trained("m", "default_1", "");
    assert_eq!(yard.blobs().len(), 1, "a link is not the image");
}
