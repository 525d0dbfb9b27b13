//! The directory at the end of a zip file, walked from entry to entry.

use super::{ArchiveError, Limits, Source, Totals, u16_at, u32_at, u64_at};

/// The end record without its comment, and the longest comment.
const END: usize = 22;
const COMMENT: usize = u16::MAX as usize;

/// What leads to the end record of large archives, and that without what may follow.
const LOCATOR: usize = 20;
const LARGE_END: usize = 56;

/// An entry of the directory without its name and what follows that.
const HEADER: usize = 46;

/// What is read of the directory at once.
const WINDOW: usize = 64 << 10;

/// The type of a file in the attributes that Unix leaves, and that of a link.
const TYPE: u32 = 0o170_000;
const LINK: u32 = 0o120_000;

/// What the directory says of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, as it is written.
    pub path: String,
    /// What the archive's maker remarked.
    pub comment: String,
    /// Unpacked.
    pub size: u64,
    /// Whether it is a link to something else, in place of a file.
    pub is_link: bool,
    pub(super) packed: u64,
    pub(super) method: u16,
    pub(super) is_encrypted: bool,
    pub(super) checksum: u32,
    pub(super) offset: u64,
}

/// An archive whose directory is being walked.
#[derive(Debug)]
pub struct Archive<S> {
    pub(super) source: S,
    pub(super) limits: Limits,
    /// Where the directory begins; entries end before it.
    pub(super) directory: u64,
    end: u64,
    /// What stands before the archive's own first byte, such as a program that unpacks it.
    before: u64,
    at: u64,
    left: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<S: Source> Archive<S> {
    /// Finds the directory, walks it once and adds up what it says.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing was unpacked.
    pub fn open(source: S, limits: Limits) -> Result<(Self, Totals), ArchiveError> {
        let length = source.length()?;
        let Ends { entries, size, offset, at } = find(&source, length)?;
        if entries > limits.entries {
            return Err(ArchiveError::TooMany { entries, limit: limits.entries });
        }
        let directory = at.checked_sub(size).ok_or(ArchiveError::Damaged("its directory is cut off"))?;
        let before = directory.checked_sub(offset).ok_or(ArchiveError::Damaged("its directory is elsewhere"))?;
        let mut archive = Self {
            source,
            limits,
            directory,
            end: at,
            before,
            at: directory,
            left: entries,
            window: Vec::new(),
            window_at: 0,
        };
        let (mut totals, mut packed) = (Totals { entries, unpacked: 0 }, 0u64);
        while let Some(entry) = archive.next_entry()? {
            totals.unpacked = totals.unpacked.saturating_add(entry.size);
            packed = packed.saturating_add(entry.packed);
        }
        if packed > length {
            return Err(ArchiveError::Overlapping);
        }
        if totals.unpacked > limits.unpacked {
            return Err(ArchiveError::TooLarge { unpacked: totals.unpacked, limit: limits.unpacked });
        }
        (archive.at, archive.left) = (directory, entries);
        Ok((archive, totals))
    }

    /// The next entry.
    ///
    /// # Errors
    /// Where the directory is damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        if self.left == 0 {
            return Ok(None);
        }
        let header = self.view(HEADER)?.to_vec();
        if header.get(..4) != Some(b"PK\x01\x02") {
            return Err(ArchiveError::Damaged("its directory has something else in the place of an entry"));
        }
        let lengths = [28, 30, 32].map(|at| usize::from(u16_at(&header, at)));
        let [name, extra, comment] = lengths;
        let whole = self.view(HEADER + name + extra + comment)?;
        let (path, rest) = whole.get(HEADER..).unwrap_or_default().split_at_checked(name).unwrap_or_default();
        let (extra, comment) = rest.split_at_checked(extra).unwrap_or_default();
        let is_utf8 = u16_at(&header, 8) & 0x800 != 0;
        let [mut size, mut packed, mut offset] = [24, 20, 42].map(|at| u64::from(u32_at(&header, at)));
        large([&mut size, &mut packed, &mut offset], extra)?;
        let is_of_unix = header.get(5) == Some(&3);
        let entry = Entry {
            path: text(path, is_utf8),
            comment: text(comment, is_utf8),
            size,
            is_link: is_of_unix && (u32_at(&header, 38) >> 16) & TYPE == LINK,
            packed,
            method: u16_at(&header, 10),
            is_encrypted: u16_at(&header, 8) & 1 != 0,
            checksum: u32_at(&header, 16),
            offset: offset.saturating_add(self.before),
        };
        self.at += (HEADER + lengths.iter().sum::<usize>()) as u64;
        self.left -= 1;
        Ok(Some(entry))
    }

    /// So many bytes of the directory from here on.
    fn view(&mut self, length: usize) -> Result<&[u8], ArchiveError> {
        if self.at + length as u64 > self.end {
            return Err(ArchiveError::Damaged("its directory is cut off"));
        }
        let is_there = self.at >= self.window_at
            && self.at + length as u64 <= self.window_at + self.window.len() as u64
            && !self.window.is_empty();
        if !is_there {
            let wanted = usize::try_from(self.end - self.at).unwrap_or(WINDOW).min(WINDOW.max(length));
            self.window.resize(wanted, 0);
            self.source.read_at(&mut self.window, self.at)?;
            self.window_at = self.at;
        }
        let from = usize::try_from(self.at - self.window_at).unwrap_or(usize::MAX);
        self.window.get(from..from.saturating_add(length)).ok_or(ArchiveError::Damaged("its directory is cut off"))
    }
}

/// Where the directory is, as the end of the archive says.
struct Ends {
    entries: u64,
    size: u64,
    offset: u64,
    /// Where the directory ends.
    at: u64,
}

fn find(source: &impl Source, length: u64) -> Result<Ends, ArchiveError> {
    let tail = usize::try_from(length).unwrap_or(usize::MAX).min(END + COMMENT);
    let mut bytes = vec![0; tail];
    let from = length - tail as u64;
    source.read_at(&mut bytes, from)?;
    // The comment may hold anything, so the record has to lead just to the end.
    let fits = |at: &usize| {
        bytes.get(*at..).is_some_and(|record| {
            record.starts_with(b"PK\x05\x06") && END + usize::from(u16_at(record, 20)) == record.len()
        })
    };
    let found = (0..=tail.saturating_sub(END)).rev().filter(|_| tail >= END).find(fits);
    let found = found.ok_or(ArchiveError::NotAnArchive)?;
    let record = bytes.get(found..).unwrap_or_default();
    let at = from + found as u64;
    let (part, first) = (u16_at(record, 4), u16_at(record, 6));
    let (entries, size, offset) = (u16_at(record, 10), u32_at(record, 12), u32_at(record, 16));
    let is_large = entries == u16::MAX || size == u32::MAX || offset == u32::MAX;
    if is_large && let Some(ends) = find_large(source, at)? {
        return Ok(ends);
    }
    if part != 0 || first != 0 {
        return Err(ArchiveError::Split);
    }
    Ok(Ends { entries: entries.into(), size: size.into(), offset: offset.into(), at })
}

/// The end record of a large archive, where the one at `end` stands for it.
fn find_large(source: &impl Source, end: u64) -> Result<Option<Ends>, ArchiveError> {
    let Some(locator_at) = end.checked_sub(LOCATOR as u64) else { return Ok(None) };
    let mut locator = [0; LOCATOR];
    source.read_at(&mut locator, locator_at)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return Ok(None);
    }
    // What the locator says counts from the archive's own first byte, so it is looked for where it always stands too.
    let places = [Some(u64_at(&locator, 8)), locator_at.checked_sub(LARGE_END as u64)];
    for at in places.into_iter().flatten().filter(|at| at.saturating_add(LARGE_END as u64) <= locator_at) {
        let mut record = [0; LARGE_END];
        source.read_at(&mut record, at)?;
        if record.starts_with(b"PK\x06\x06") {
            if u32_at(&record, 16) != 0 || u32_at(&record, 20) != 0 {
                return Err(ArchiveError::Split);
            }
            let [entries, size, offset] = [32, 40, 48].map(|field| u64_at(&record, field));
            return Ok(Some(Ends { entries, size, offset, at }));
        }
    }
    Err(ArchiveError::Damaged("it says that it is large, and not how large"))
}

/// Takes numbers that do not fit into the header from where they stand instead, in this order.
fn large(fields: [&mut u64; 3], extra: &[u8]) -> Result<(), ArchiveError> {
    if fields.iter().all(|field| **field != u64::from(u32::MAX)) {
        return Ok(());
    }
    let mut rest = extra;
    while let Some((head, behind)) = rest.split_first_chunk::<4>() {
        let (kind, length) = (u16_at(head, 0), usize::from(u16_at(head, 2)));
        let Some((content, behind)) = behind.split_at_checked(length) else { break };
        rest = behind;
        if kind != 1 {
            continue;
        }
        let mut numbers = content.chunks_exact(8);
        for field in fields.into_iter().filter(|field| **field == u64::from(u32::MAX)) {
            let number = numbers.next().ok_or(ArchiveError::Damaged("the size of an entry is missing"))?;
            *field = u64_at(number, 0);
        }
        return Ok(());
    }
    // It may just be that large.
    Ok(())
}

/// Text as it was meant: UTF-8 where it is that, whatever is said about it; else what DOS took for letters.
fn text(bytes: &[u8], is_utf8: bool) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) if is_utf8 => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => bytes.iter().map(|byte| letter(*byte)).collect(),
    }
}

/// Code page 437 above ASCII.
const LETTERS: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

fn letter(byte: u8) -> char {
    match byte.checked_sub(0x80) {
        None => byte.into(),
        Some(high) => LETTERS.chars().nth(high.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}
