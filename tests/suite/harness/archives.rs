//! Zip files for tests: stored entries, or damaged on purpose by whoever asks.

use trainyard::ingest::zip::Writer;

/// A zip file of these paths and contents.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut writer, mut bytes, mut directory) = (Writer::default(), Vec::new(), Vec::new());
    for (path, content) in entries {
        let headers = writer.entry(path, "", content.len() as u64, crc32fast::hash(content));
        bytes.extend_from_slice(&headers.local);
        bytes.extend_from_slice(content);
        directory.extend_from_slice(&headers.listed);
    }
    [bytes, directory, writer.end()].concat()
}
