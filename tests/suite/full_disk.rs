//! A disk that is really full: a small file system of its own, filled to the last byte while the server works. Nothing
//! that was answered is lost, everything can be read, and work goes on by itself once there is room.

use crate::harness::wait::wait_within;
use crate::harness::{Form, Server, Yard, images, wait_until};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// A data folder with a file system of its own.
struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB; `None`, and a word why, where that is not allowed.
    fn mount(yard: &Yard, size: u64) -> Option<Self> {
        let place = yard.path("data");
        fs::create_dir_all(&place).unwrap();
        let options = CString::new(format!("size={size}m,mode=0700")).unwrap();
        match mount("trainyard-test", &place, "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Self { place }),
            Err(error) => {
                println!("skipped: a full disk, because no file system can be mounted here: {error}");
                None
            }
        }
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.place.join("filler")).unwrap();
        for size in [1 << 20, 4096] {
            while filler.write_all(&vec![0x5a; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.place.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.place, UnmountFlags::DETACH);
    }
}

/// Everything that must not change while nothing new is accepted.
fn shown(server: &Server) -> Vec<String> {
    let calls: [(&str, &[(&str, &str)]); 3] = [
        ("/allAccuracies", &[("model_name", "m")]),
        ("/bestAccuracy", &[("model_name", "m")]),
        ("/api/v1/runs", &[("model", "m"), ("limit", "200")]),
    ];
    let answer = |path, query| {
        let answer = server.get(path, query);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    };
    calls.iter().map(|(path, query)| answer(path, query)).collect()
}

fn refuses_what_is_new(server: &Server) {
    let new = [("model_name", "new")];
    let message = server.get("/createModel", &new).refused(507, "status");
    assert!(message.contains("disk"), "{message}");
    let form = Form::new().field("model_name", "m").file("file", "b.png", &images::png(77));
    server.post("/uploadTrainingImage", &form).refused(507, "status");
    assert_eq!(server.get("/readyz", &[]).status, 507);
    assert_eq!(server.get("/healthz", &[]).status, 200);
}

fn accepts_again(server: &Server, model: &str) {
    let call = || server.get("/createModel", &[("model_name", model)]).status == 200;
    wait_within(Duration::from_secs(20), "a server that writes again", || call().then_some(()));
    server.upload(model, "", "new.png", &images::png(5));
    assert_eq!(server.trained(model, "default_1", "")["state"], "succeeded");
    assert_eq!(server.get("/readyz", &[]).status, 200);
}

fn yard(script: &str) -> Yard {
    Yard::new().one_experiment().set("server", "min_free_bytes", 8 << 20).train(script)
}

#[test]
fn a_full_disk_is_survived_restarted_on_and_left_behind() {
    let yard = yard("[ -e \"$YARD/hold\" ] && : < \"$YARD/gate\"; echo accuracy=0.$6");
    let Some(disk) = SmallDisk::mount(&yard, 96) else { return };
    let mut gate = yard.gate("gate");
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "a.png", &images::png(1));
    server.trained("m", "default_1", "d");
    // Two runs end while the disk is full, and one waits.
    yard.write("hold", "");
    server.create_experiment("m", "e");
    let runs = [server.train("m", "e", "d"), server.train("m", "e", ""), server.train("m", "default_1", "")];
    wait_until("two runs", || server.queue() == (1, 2));
    disk.fill();
    refuses_what_is_new(&server);
    gate.open();
    wait_until("the ends of the runs", || server.queue() == (1, 0));
    for run in &runs[..2] {
        assert_eq!(server.state(run), "succeeded", "{}", server.run(run));
    }
    let before = shown(&server);
    disk.fill();
    refuses_what_is_new(&server);
    assert_eq!(shown(&server), before);

    // Killed and started again, twice: what was set aside for the first start is used up by others.
    server.kill9();
    let server = yard.start();
    assert_eq!(shown(&server), before);
    disk.fill();
    refuses_what_is_new(&server);
    server.kill9();
    disk.fill();
    let server = yard.start();
    assert_eq!(shown(&server), before);
    refuses_what_is_new(&server);
    assert_eq!(server.queue(), (1, 0), "what waits goes on waiting");

    disk.make_room();
    accepts_again(&server, "again");
    wait_within(Duration::from_secs(30), "the run that waited", || {
        (server.state(&runs[2]) == "succeeded").then_some(())
    });
    server.stop();
    let server = yard.start();
    assert_eq!(server.state(&runs[2]), "succeeded");
    let words = crate::harness::client::request(server.address, "POST", "/api/v1/maintenance/verify", "", &[]);
    assert!(words.text().contains("\"problems\":0"), "{}", words.text());
}

#[test]
fn nothing_that_was_answered_is_lost_when_the_disk_fills_up_amid_writes() {
    let yard = yard("echo accuracy=0.5");
    let Some(disk) = SmallDisk::mount(&yard, 80) else { return };
    let server = yard.start();
    server.create_model("m");
    let mut known: Vec<String> = Vec::new();
    for round in 0..3 {
        let mut refused = 0;
        for number in 0_u32.. {
            if number == 20 * (round + 1) {
                disk.fill();
            }
            let name = format!("e{round}-{number}");
            let query = [("learning_rate", "1"), ("num_layers", "1"), ("num_steps", "1")];
            let names = [("model_name", "m"), ("experiment_name", name.as_str())];
            let answer = server.get("/createExperiment", &[&names[..], &query].concat());
            match answer.status {
                200 => known.push(name),
                507 => refused += 1,
                other => panic!("{other}: {}", answer.text()),
            }
            if refused > 5 {
                break;
            }
        }
        let all: Vec<String> = server.accuracies("m").into_iter().map(|(name, _)| name).collect();
        assert!(known.iter().all(|name| all.contains(name)));
        disk.make_room();
        accepts_again(&server, &format!("again-{round}"));
    }
    server.kill9();
    let server = yard.start();
    let all: Vec<String> = server.accuracies("m").into_iter().map(|(name, _)| name).collect();
    assert!(known.iter().all(|name| all.contains(name)));
    server.trained("again-2", "default_1", "");
}
