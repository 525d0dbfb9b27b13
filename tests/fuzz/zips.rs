//! Zip files from outside: whatever their directory says, what comes of them stays within the limits.

use super::{ROOM, Target, run};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::cell::Cell;
use std::io::Write;
use trainyard::ingest::zip::{Archive, Headers, Limits, Place, Writer, place};

const LIMITS: Limits = Limits { entries: 50, unpacked: 1 << 22, entry: 1 << 20, ratio: 100 };

/// An archive of an entry that is stored and one that is deflated.
fn archive() -> Vec<u8> {
    let (stored, packed) = (b"a picture".as_slice(), [7; 4000]);
    let mut writer = Writer::default();
    let first = writer.entry("cat/1.png", "1.png", stored.len() as u64, crc32fast::hash(stored));
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&packed).unwrap();
    let deflated = encoder.finish().unwrap();
    let Headers { mut local, mut listed } =
        writer.entry("dog/2.png", "", deflated.len() as u64, crc32fast::hash(&packed));
    // The method, and how large it is unpacked.
    (local[8], listed[10]) = (8, 8);
    local[22..26].copy_from_slice(&4000_u32.to_le_bytes());
    listed[24..28].copy_from_slice(&4000_u32.to_le_bytes());
    [first.local, stored.to_vec(), local, deflated, first.listed, listed, writer.end()].concat()
}

const WORDS: &[&str] =
    &["PK\u{1}\u{2}", "PK\u{3}\u{4}", "PK\u{5}\u{6}", "PK\u{6}\u{6}", "PK\u{6}\u{7}", "../", "cat/", "\\", "\0", "/"];

#[test]
fn zips() {
    let target = Target { name: "zips", cases: 4000, examples: vec![archive()], words: WORDS, room: ROOM };
    let (opened, unpacked) = (Cell::new(0), Cell::new(0));
    run(&target, |input| {
        let Ok((mut archive, totals)) = Archive::open(input.to_vec(), LIMITS) else { return };
        opened.set(opened.get() + 1);
        assert!(totals.entries <= LIMITS.entries && totals.unpacked <= LIMITS.unpacked, "{totals:?}");
        let mut entries = 0;
        while let Ok(Some(entry)) = archive.next_entry() {
            entries += 1;
            let mut size = 0;
            let taken = archive.unpack(&entry, &mut |piece| {
                size += piece.len() as u64;
                Ok(())
            });
            assert!(size <= entry.size.min(LIMITS.entry), "{size} bytes of {entry:?}");
            unpacked.set(unpacked.get() + u32::from(taken.is_ok()));
            if let Ok(Place::File { folder, name }) = place(&entry.path) {
                let parts = folder.iter().chain([&name]);
                let leads_out = |part: &String| part.contains(['/', '\\', '\0']) || part.is_empty() || *part == "..";
                assert!(!parts.into_iter().any(leads_out), "{folder:?} {name:?} of {:?}", entry.path);
            }
        }
        assert!(entries <= totals.entries);
    });
    assert!(opened.get() > 0 && unpacked.get() > 0);
}
