//! Archives that are honest, and archives that are not.

use super::*;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;
use std::io::Write;

const LIMITS: Limits = Limits { entries: 100, unpacked: 1 << 30, entry: 1 << 25, ratio: 100 };

/// What was written of an archive.
fn archive(entries: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let (mut writer, mut bytes, mut directory) = (Writer::default(), Vec::new(), Vec::new());
    for (path, remark, content) in entries {
        let headers = writer.entry(path, remark, content.len() as u64, crc32fast::hash(content));
        bytes.extend_from_slice(&headers.local);
        bytes.extend_from_slice(content);
        directory.extend_from_slice(&headers.listed);
    }
    [bytes, directory, writer.end()].concat()
}

/// An archive of one deflated entry that says that it has `size` bytes.
fn deflated(path: &str, content: &[u8], size: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    let packed = encoder.finish().unwrap();
    let mut writer = Writer::default();
    let Headers { mut local, mut listed } = writer.entry(path, "", packed.len() as u64, crc32fast::hash(content));
    local[8] = 8;
    listed[10] = 8;
    local[22..26].copy_from_slice(&size.to_le_bytes());
    listed[24..28].copy_from_slice(&size.to_le_bytes());
    [local, packed, listed, writer.end()].concat()
}

fn opened(bytes: Vec<u8>) -> Result<Archive<Vec<u8>>, ArchiveError> {
    Archive::open(bytes, LIMITS).map(|(archive, _)| archive)
}

/// An entry, and what it unpacks to.
type Unpacked = (Entry, Result<Vec<u8>, EntryError>);

/// Every entry with what it unpacks to.
fn all(bytes: Vec<u8>) -> Result<Vec<Unpacked>, ArchiveError> {
    let mut archive = opened(bytes)?;
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut content = Vec::new();
        let unpacked = archive.unpack(&entry, &mut |piece| {
            content.extend_from_slice(piece);
            Ok(())
        });
        found.push((entry, unpacked.map(|()| content)));
    }
    Ok(found)
}

fn only(bytes: Vec<u8>) -> Result<Vec<u8>, EntryError> {
    all(bytes).unwrap().pop().unwrap().1
}

#[test]
fn what_is_written_is_read() {
    let large = vec![7; 300_000];
    let bytes = archive(&[("cat/1.png", "", b"one"), ("käse/ü.png", "remark ✓", b""), ("2.png", "", &large)]);
    let found = all(bytes.clone()).unwrap();
    let found: Vec<_> =
        found.iter().map(|(entry, content)| (&*entry.path, &*entry.comment, &**content.as_ref().unwrap())).collect();
    assert_eq!(found, [("cat/1.png", "", &b"one"[..]), ("käse/ü.png", "remark ✓", b""), ("2.png", "", &large)]);
    // What stands before it is not a part of it.
    assert_eq!(all([b"#!/bin/sh\n", &bytes[..]].concat()).unwrap().len(), 3);
    assert!(all(archive(&[])).unwrap().is_empty());
}

#[test]
fn more_entries_than_the_old_headers_count_are_read() {
    let mut writer = Writer::default();
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for number in 0..70_000 {
        let headers = writer.entry(&format!("{number}"), "", 0, 0);
        bytes.extend_from_slice(&headers.local);
        directory.extend_from_slice(&headers.listed);
    }
    let bytes = [bytes, directory, writer.end()].concat();
    let limits = Limits { entries: 70_000, ..LIMITS };
    let (mut archive, totals) = Archive::open(bytes.clone(), limits).unwrap();
    assert_eq!(totals, Totals { entries: 70_000, unpacked: 0 });
    let mut count = 0;
    while let Some(entry) = archive.next_entry().unwrap() {
        assert_eq!(entry.path, count.to_string());
        count += 1;
    }
    assert_eq!(count, 70_000);
    assert!(matches!(opened(bytes), Err(ArchiveError::TooMany { entries: 70_000, limit: 100 })));
}

#[test]
fn large_numbers_stand_behind_the_headers() {
    let mut writer = Writer::default();
    let first = writer.entry("a", "", 5 << 30, 1);
    let second = writer.entry("b", "", 3, 2);
    assert_eq!(first.local.len(), 30 + 1 + 20);
    let directory = [first.listed, second.listed].concat();
    // A file with a hole for the first entry.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&first.local).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Current(5 << 30)).unwrap();
    file.write_all(&[second.local, b"two".to_vec(), directory, writer.end()].concat()).unwrap();
    let limits = Limits { unpacked: 6 << 30, ..LIMITS };
    let (mut archive, totals) = Archive::open(file, limits).unwrap();
    assert_eq!(totals, Totals { entries: 2, unpacked: (5 << 30) + 3 });
    assert_eq!(archive.next_entry().unwrap().unwrap().size, 5 << 30);
    let second = archive.next_entry().unwrap().unwrap();
    let unpacked = archive.unpack(&second, &mut |piece| {
        assert_eq!(piece, b"two");
        Ok(())
    });
    assert!(matches!(unpacked, Err(EntryError::Damaged("its checksum is another one"))));
}

#[test]
fn deflated_entries_are_unpacked_and_bombs_are_not() {
    let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(only(deflated("a", &content, content.len() as u32)).unwrap(), content);
    let flat = vec![0; 8 << 20];
    assert!(matches!(only(deflated("a", &flat, flat.len() as u32)), Err(EntryError::TooTight(100))));
    // A small one may be as tight as it is.
    assert_eq!(only(deflated("a", &flat[..1 << 20], 1 << 20)).unwrap().len(), 1 << 20);
    // One that says less than it is is unpacked no further.
    assert!(matches!(only(deflated("a", &flat, 10)), Err(EntryError::Damaged("it is larger than the directory says"))));
    assert!(matches!(
        only(deflated("a", b"abc", 10)),
        Err(EntryError::Damaged("it is smaller than the directory says"))
    ));
    assert!(matches!(only(deflated("a", &content, 1 << 26)), Err(EntryError::TooLarge { .. })));
}

#[test]
fn an_archive_that_promises_too_much_is_refused_before_anything_is_unpacked() {
    let one = archive(&[("a", "", &[1; 1000])]);
    let limits = Limits { unpacked: 999, ..LIMITS };
    assert!(matches!(Archive::open(one.clone(), limits), Err(ArchiveError::TooLarge { unpacked: 1000, limit: 999 })));
    // The same bytes under many names: a hundred entries of the directory that lead to one.
    let Headers { local, listed } = Writer::default().entry("a", "", 1000, 0);
    let mut end = archive(&[]);
    let directory = listed.repeat(100);
    end[8..12].copy_from_slice(&[100, 0, 100, 0]);
    end[12..16].copy_from_slice(&(directory.len() as u32).to_le_bytes());
    end[16..20].copy_from_slice(&(local.len() as u32 + 1000).to_le_bytes());
    let bomb = [local, vec![0; 1000], directory, end].concat();
    assert!(matches!(opened(bomb), Err(ArchiveError::Overlapping)));
    for none in [&b""[..], b"PK", b"hello, this is a text and no archive at all"] {
        assert!(matches!(opened(none.to_vec()), Err(ArchiveError::NotAnArchive)));
    }
}

#[test]
fn what_cannot_be_unpacked_says_why() {
    let mut locked = archive(&[("a", "", b"one")]);
    let listed = locked.len() - 22 - 47;
    locked[listed + 8] |= 1;
    assert!(matches!(only(locked.clone()), Err(EntryError::Encrypted)));
    locked[listed + 8] = 0;
    locked[listed + 10] = 93;
    assert!(matches!(only(locked), Err(EntryError::Method(93))));
    let mut torn = archive(&[("a", "", b"one")]);
    torn[31] ^= 1;
    assert!(matches!(only(torn), Err(EntryError::Damaged("its checksum is another one"))));
    let mut link = archive(&[("a", "", b"/etc/passwd")]);
    let listed = link.len() - 22 - 47;
    link[listed + 38..listed + 42].copy_from_slice(&(0o120_777u32 << 16).to_le_bytes());
    assert!(all(link).unwrap()[0].0.is_link);
    // Names from before UTF-8.
    let mut old = archive(&[("a.", "", b"")]);
    let listed = old.len() - 22 - 48;
    old[listed + 9] = 0;
    old[listed + 46] = 0x84;
    assert_eq!(all(old).unwrap()[0].0.path, "ä.");
}

proptest! {
    #[test]
    fn a_damaged_archive_is_read_as_far_as_it_goes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut bytes = archive(&[("cat/1.png", "a", b"one"), ("dog/2.png", "", &[9; 500])]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(found) = all(bytes) {
            prop_assert!(found.len() <= 2);
            for (entry, content) in found {
                if let Ok(content) = content {
                    prop_assert_eq!(crc32fast::hash(&content), entry.checksum);
                    prop_assert_eq!(content.len() as u64, entry.size);
                }
            }
        }
    }

    #[test]
    fn any_bytes_end(bytes: Vec<u8>) {
        drop(all(bytes));
    }
}
