//! The cache of features: what a backbone made of an image is kept, so that it is made once and not for every run.
//!
//! A folder `features-<key>` for each backbone with its preprocessing; in it [`SHARDS`] files, an image's by the first
//! byte of its hash. A file is a head and entries of one length, each sealed with a keyed BLAKE3: what a crash or a
//! failing disk left is left out and made again. Whoever works on a file holds its lock, so that processes that begin
//! together share the work: each takes the next file that nobody is at. Nothing here has to be durable. It must not know
//! how features are made.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// BLAKE3 of an image's bytes.
pub type Hash = [u8; 32];

/// Files of a backbone: few enough to list, many enough for several processes to share.
pub const SHARDS: usize = 64;
/// The largest file, in bytes; beyond, what the present images do not need is dropped.
const MAX_SHARD: usize = 4 << 20;
/// The most that all backbones' features may take, in bytes; beyond, the one not used for longest is dropped.
const MAX_TOTAL: u64 = 512 << 20;
/// The most features of an image, so that no head can ask for more memory than its file.
const MAX_FEATURES: usize = 16_384;
const PREFIX: &str = "features-";
/// Format of the files.
const MAGIC: &[u8; 8] = b"TYFEAT01";
/// Bytes of a seal.
const SEAL: usize = 16;
const HASH: usize = size_of::<Hash>();
const HEAD: usize = MAGIC.len() + 4 + SEAL;

/// Features of one backbone.
#[derive(Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    key: Hash,
}

/// Features by the hash of their image.
pub type Features = HashMap<Hash, Vec<f32>>;

impl FeatureCache {
    /// Opens the features of the backbone `key` below `root`, which are made where there are none, and drops those of
    /// other backbones where all together take too much.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(root: &Path, key: Hash) -> io::Result<FeatureCache> {
        let name = blake3::Hash::from(key).to_hex();
        let folder = root.join(format!("{PREFIX}{}", &name[..32]));
        fs::create_dir_all(&folder)?;
        // The time of the last use is that of the folder.
        File::open(&folder)?.set_modified(SystemTime::now())?;
        evict(root, &folder, MAX_TOTAL)?;
        Ok(FeatureCache { folder, key })
    }

    /// The features of all `images`, which are in the cache or `make` makes; it gets images without features, a few at a
    /// time, and leaves out those that cannot be read. Each is made by one process, however many ask.
    ///
    /// A cache that cannot be written is left as it is, and what was wrong with it noted in `trouble`.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn collect<E>(
        &self,
        images: &[Hash],
        trouble: &mut Option<io::Error>,
        make: &mut dyn FnMut(&[Hash]) -> Result<Features, E>,
    ) -> Result<Features, E> {
        let mut shards: Vec<Vec<Hash>> = vec![Vec::new(); SHARDS];
        for image in images {
            shards[usize::from(image[0]) % SHARDS].push(*image);
        }
        let mut waiting: VecDeque<(usize, bool)> =
            (0..SHARDS).filter(|shard| !shards[*shard].is_empty()).map(|shard| (shard, false)).collect();
        let mut all = Features::with_capacity(images.len());
        while let Some((number, patient)) = waiting.pop_front() {
            let shard = match self.open_shard(number, patient) {
                Ok(Some(shard)) => Some(shard),
                // Another process is at it: it comes last, when most of it will be there.
                Ok(None) => {
                    waiting.push_back((number, true));
                    continue;
                }
                Err(error) => {
                    trouble.get_or_insert(error);
                    None
                }
            };
            all.extend(complete(shard, &shards[number], trouble, make)?);
        }
        Ok(all)
    }

    /// Opens, locks and reads a file; `None` where another process has it and this one does not want to wait.
    fn open_shard(&self, number: usize, patient: bool) -> io::Result<Option<Shard<'_>>> {
        let path = self.folder.join(format!("{number:02x}"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if patient {
            file.lock()?;
        } else {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Shard::read(file, &self.key).map(Some)
    }
}

/// The features of all `wanted` images of one file, which holds some of them; `make` makes the others.
fn complete<E>(
    mut shard: Option<Shard<'_>>,
    wanted: &[Hash],
    trouble: &mut Option<io::Error>,
    make: &mut dyn FnMut(&[Hash]) -> Result<Features, E>,
) -> Result<Features, E> {
    let mut found = shard.as_mut().map(|shard| std::mem::take(&mut shard.entries)).unwrap_or_default();
    let missing: Vec<Hash> = wanted.iter().filter(|image| !found.contains_key(*image)).copied().collect();
    if !missing.is_empty() {
        let made = make(&missing)?;
        if let Some(shard) = shard
            && let Err(error) = shard.add(&found, &made, wanted)
        {
            trouble.get_or_insert(error);
        }
        found.extend(made);
    }
    Ok(wanted.iter().filter_map(|image| found.remove_entry(image)).collect())
}

/// A locked file and what was good in it.
struct Shard<'a> {
    file: File,
    key: &'a Hash,
    entries: Features,
    /// Length of the file where all of it is good.
    intact: Option<usize>,
}

impl Shard<'_> {
    fn read(mut file: File, key: &Hash) -> io::Result<Shard<'_>> {
        let mut bytes = Vec::new();
        (&mut file).take(MAX_SHARD as u64 + 1).read_to_end(&mut bytes)?;
        let (entries, intact) = parse(&bytes, key);
        Ok(Shard { file, key, entries, intact: intact.then_some(bytes.len()) })
    }

    /// Adds `made` to the file, which had `before`; rewrites it where it is damaged or would become too large, then with
    /// `wanted` alone.
    fn add(mut self, before: &Features, made: &Features, wanted: &[Hash]) -> io::Result<()> {
        let Some(width) = made.values().next().map(Vec::len) else { return Ok(()) };
        let begin = self.intact.filter(|length| *length > 0);
        let mut bytes = Vec::new();
        if begin.is_none() {
            head(width, self.key, &mut bytes);
        }
        let old = before.iter().filter(|_| begin.is_none());
        entries(old.chain(made), width, self.key, MAX_SHARD, &mut bytes);
        let mut begin = begin.unwrap_or(0);
        if begin + bytes.len() > MAX_SHARD {
            begin = 0;
            bytes.clear();
            head(width, self.key, &mut bytes);
            let kept = wanted.iter().filter_map(|image| before.get_key_value(image).or(made.get_key_value(image)));
            entries(kept, width, self.key, MAX_SHARD, &mut bytes);
        }
        if begin == 0 {
            self.file.set_len(0)?;
        }
        self.file.seek(SeekFrom::Start(begin as u64))?;
        self.file.write_all(&bytes)
    }
}

fn seal(bytes: &[u8], key: &Hash) -> [u8; SEAL] {
    let mut seal = [0; SEAL];
    seal.copy_from_slice(&blake3::keyed_hash(key, bytes).as_bytes()[..SEAL]);
    seal
}

fn head(width: usize, key: &Hash, bytes: &mut Vec<u8>) {
    let begin = bytes.len();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(width).unwrap_or(0).to_le_bytes());
    let seal = seal(&bytes[begin..], key);
    bytes.extend_from_slice(&seal);
}

/// Appends entries of `width` features as far as the whole stays within `limit`.
fn entries<'a>(
    features: impl Iterator<Item = (&'a Hash, &'a Vec<f32>)>,
    width: usize,
    key: &Hash,
    limit: usize,
    bytes: &mut Vec<u8>,
) {
    let length = HASH + 4 * width + SEAL;
    for (image, values) in features.filter(|(_, values)| values.len() == width) {
        if bytes.len() + length > limit {
            return;
        }
        let begin = bytes.len();
        bytes.extend_from_slice(image);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let seal = seal(&bytes[begin..], key);
        bytes.extend_from_slice(&seal);
    }
}

/// The good entries of a file, and whether all of it is good; an empty file is.
fn parse(bytes: &[u8], key: &Hash) -> (Features, bool) {
    let mut found = Features::new();
    if bytes.is_empty() {
        return (found, true);
    }
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return (found, false) };
    let (said, head_seal) = head.split_at(HEAD - SEAL);
    if !said.starts_with(MAGIC) || head_seal != seal(said, key) {
        return (found, false);
    }
    let width = said[MAGIC.len()..].iter().rev().fold(0, |width, byte| width << 8 | usize::from(*byte));
    if !(1..=MAX_FEATURES).contains(&width) {
        return (found, false);
    }
    let length = HASH + 4 * width + SEAL;
    let mut intact = rest.len().is_multiple_of(length) && bytes.len() <= MAX_SHARD;
    for entry in rest.chunks_exact(length) {
        let (said, entry_seal) = entry.split_at(length - SEAL);
        if entry_seal != seal(said, key) {
            intact = false;
            continue;
        }
        let (image, values) = said.split_at(HASH);
        let mut name = [0; HASH];
        name.copy_from_slice(image);
        found.insert(name, values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
    }
    (found, intact)
}

/// Removes the folders of other backbones, the one not used for longest first, until all take at most `limit` bytes.
fn evict(root: &Path, own: &Path, limit: u64) -> io::Result<()> {
    let mut folders = Vec::new();
    let mut total = 0;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let mut size = 0;
        // Another process may be removing it.
        for file in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            size += file.metadata().map_or(0, |file| file.len());
        }
        total += size;
        if entry.path() != own {
            let used = entry.metadata().and_then(|folder| folder.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            folders.push((used, size, entry.path()));
        }
    }
    folders.sort();
    for (_, size, folder) in folders {
        if total <= limit {
            break;
        }
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => total -= size,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::convert::Infallible;
    use std::sync::{Barrier, Mutex};

    const WIDTH: usize = 3;

    fn image(number: u64) -> Hash {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    fn features(image: &Hash) -> Vec<f32> {
        image[..WIDTH].iter().map(|byte| f32::from(*byte)).collect()
    }

    fn make(images: &[Hash]) -> Features {
        images.iter().map(|image| (*image, features(image))).collect()
    }

    /// Collects and says how many were made.
    fn collect(cache: &FeatureCache, images: &[Hash]) -> (Features, usize) {
        let (made, mut trouble) = (RefCell::new(0), None);
        let found = cache.collect(images, &mut trouble, &mut |missing| {
            *made.borrow_mut() += missing.len();
            Ok::<_, Infallible>(make(missing))
        });
        assert!(trouble.is_none(), "{trouble:?}");
        (found.unwrap(), made.into_inner())
    }

    #[test]
    fn features_are_made_once_for_each_backbone() {
        let root = tempfile::tempdir().unwrap();
        let images: Vec<Hash> = (0..300).map(image).collect();
        let cache = FeatureCache::open(root.path(), image(1)).unwrap();
        assert_eq!(collect(&cache, &images[..200]), (make(&images[..200]), 200));
        let again = FeatureCache::open(root.path(), image(1)).unwrap();
        assert_eq!(collect(&again, &images), (make(&images), 100));
        assert_eq!(collect(&again, &images).1, 0);
        let other = FeatureCache::open(root.path(), image(2)).unwrap();
        assert_eq!(collect(&other, &images).1, 300);
    }

    #[test]
    fn processes_that_begin_together_share_the_work() {
        let root = tempfile::tempdir().unwrap();
        let images: Vec<Hash> = (0..400).map(image).collect();
        let (barrier, made) = (Barrier::new(3), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let cache = FeatureCache::open(root.path(), image(1)).unwrap();
                    let (mut trouble, mut first) = (None, true);
                    let found = cache.collect(&images, &mut trouble, &mut |missing| {
                        if std::mem::take(&mut first) {
                            // Nobody goes on before all have begun: each is at a file of its own.
                            barrier.wait();
                        }
                        made.lock().unwrap().extend_from_slice(missing);
                        Ok::<_, Infallible>(make(missing))
                    });
                    assert_eq!(found.unwrap(), make(&images));
                });
            }
        });
        let mut made = made.into_inner().unwrap();
        assert_eq!(made.len(), 400);
        made.sort_unstable();
        made.dedup();
        assert_eq!(made.len(), 400, "an image was made twice");
    }

    #[test]
    fn images_that_cannot_be_read_are_left_out_and_tried_again() {
        let root = tempfile::tempdir().unwrap();
        let images: Vec<Hash> = (0..40).map(image).collect();
        let cache = FeatureCache::open(root.path(), image(1)).unwrap();
        let mut tried = 0;
        for _ in 0..2 {
            let mut none = |missing: &[Hash]| {
                tried += missing.iter().filter(|missing| **missing == images[7]).count();
                let readable: Vec<Hash> = missing.iter().filter(|image| **image != images[7]).copied().collect();
                Ok::<_, Infallible>(make(&readable))
            };
            let found = cache.collect(&images, &mut None, &mut none).unwrap();
            assert_eq!(found.len(), 39);
        }
        assert_eq!(tried, 2);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_trouble_and_no_failure() {
        let root = tempfile::tempdir().unwrap();
        let images: Vec<Hash> = (0..40).map(image).collect();
        let cache = FeatureCache::open(root.path(), image(1)).unwrap();
        fs::remove_dir_all(&cache.folder).unwrap();
        let mut trouble = None;
        let found = cache.collect(&images, &mut trouble, &mut |missing| Ok::<_, Infallible>(make(missing)));
        assert_eq!(found.unwrap(), make(&images));
        assert_eq!(trouble.unwrap().kind(), io::ErrorKind::NotFound);
        fs::write(root.path().join("file"), "").unwrap();
        assert!(FeatureCache::open(&root.path().join("file"), image(1)).is_err());
    }

    #[test]
    fn a_file_that_grows_too_large_keeps_what_is_wanted() {
        let root = tempfile::tempdir().unwrap();
        let cache = FeatureCache::open(root.path(), image(1)).unwrap();
        // Of one file, which takes some 60 of them.
        let images: Vec<Hash> = (0u64..).map(image).filter(|image| image[0] == 5).take(80).collect();
        let mut made = 0;
        let mut large = |missing: &[Hash]| {
            made += missing.len();
            Ok::<_, Infallible>(missing.iter().map(|image| (*image, vec![1.0; MAX_FEATURES])).collect())
        };
        let mut sizes = Vec::new();
        for range in [0..50, 30..80, 0..80, 30..80] {
            let length = range.len();
            assert_eq!(cache.collect(&images[range], &mut None, &mut large).unwrap().len(), length);
            sizes.push(cache.folder.join("05").metadata().unwrap().len());
        }
        assert!((110..190).contains(&made), "{made}");
        assert!(sizes.iter().all(|size| *size <= MAX_SHARD as u64 && *size > 3 << 20), "{sizes:?}");
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let images: Vec<Hash> = (0..100).map(image).collect();
        let folders: Vec<PathBuf> = (1..=3u64)
            .map(|number| {
                let cache = FeatureCache::open(root.path(), image(number)).unwrap();
                collect(&cache, &images);
                let used = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number);
                File::open(&cache.folder).unwrap().set_modified(used).unwrap();
                cache.folder
            })
            .collect();
        fs::write(root.path().join("other"), "x").unwrap();
        let size: u64 = fs::read_dir(&folders[0]).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        evict(root.path(), &folders[0], 2 * size).unwrap();
        assert_eq!(folders.iter().map(|folder| folder.exists()).collect::<Vec<_>>(), [true, false, true]);
        evict(root.path(), &folders[0], 0).unwrap();
        assert_eq!(folders.iter().map(|folder| folder.exists()).collect::<Vec<_>>(), [true, false, false]);
        assert!(root.path().join("other").exists());
    }

    proptest! {
        #[test]
        fn damage_is_found_and_made_good(at in 0usize..4000, change in 1u8.., cut in 0usize..200) {
            let root = tempfile::tempdir().unwrap();
            let images: Vec<Hash> = (0u64..).map(image).filter(|image| image[0] == 9).take(20).collect();
            let cache = FeatureCache::open(root.path(), image(1)).unwrap();
            collect(&cache, &images);
            let file = cache.folder.join("09");
            let mut bytes = fs::read(&file).unwrap();
            let length = bytes.len();
            bytes[at % length] ^= change;
            bytes.truncate(length - cut);
            fs::write(&file, bytes).unwrap();
            let (found, made) = collect(&cache, &images);
            prop_assert_eq!(found, make(&images));
            prop_assert!(made > 0);
            prop_assert_eq!(collect(&cache, &images).1, 0);
        }
    }
}
