//! Reads a tar stream entry by entry: ustar, GNU long names, PAX (POSIX.1-2001 pax, "Extended Header").
//!
//! Headers are parsed by the `tar` crate; the walk is ours, because extended headers must be bounded in
//! memory and PAX values may hold any byte (file capabilities contain newlines).

use std::io::{self, Read};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Bytes of one extended header; extended attributes have at most 64 KiB each.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a path or link target (PATH_MAX).
const PATH_BYTES_MAX: usize = 4096;
/// Extended headers before one entry.
const EXTENDED_HEADERS_MAX: usize = 8;

/// What an entry makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry; its content is read through [`TarStream`].
#[derive(Debug)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    /// Permission bits with set-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime_s: i64,
    pub mtime_ns: i64,
    /// Bytes of content.
    pub size: u64,
    pub major: u32,
    pub minor: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A fault of the stream.
#[derive(Debug)]
pub(crate) enum TarError {
    /// Reading failed; damaged compression arrives here too.
    Read(io::Error),
    /// The bytes are not a tar we accept.
    Bad(String),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        TarError::Read(error)
    }
}

impl TarError {
    pub(crate) fn reason(self) -> String {
        match self {
            TarError::Read(e) => e.to_string(),
            TarError::Bad(reason) => reason,
        }
    }
}

fn bad<T>(reason: impl Into<String>) -> Result<T, TarError> {
    Err(TarError::Bad(reason.into()))
}

/// The walk. Reading from it gives the content of the entry returned last.
pub(crate) struct TarStream<R> {
    inner: R,
    remaining: u64,
    padding: u64,
    ended: bool,
}

/// What extended headers said of the next entry.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, i64)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.remaining == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of a file"));
        }
        self.remaining -= n as u64;
        Ok(n)
    }
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, remaining: 0, padding: 0, ended: false }
    }

    /// The next entry, or `None` at the end. What was not read of the last one is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extended = Extended::default();
        let mut extended_headers = 0;
        loop {
            let Some(header) = self.next_header()? else {
                if extended_headers > 0 {
                    return bad("the archive ends after an extended header");
                }
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = number(&header.as_old().size, header.entry_size(), "size")?;
            let is_extended = matches!(
                kind,
                EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink
            );
            if !is_extended {
                return self.entry(&header, kind, extended.size.unwrap_or(size), extended).map(Some);
            }
            extended_headers += 1;
            if size > EXTENDED_BYTES_MAX || extended_headers > EXTENDED_HEADERS_MAX {
                return bad(format!(
                    "extended headers larger than {EXTENDED_BYTES_MAX} bytes, or more than {EXTENDED_HEADERS_MAX} in a row"
                ));
            }
            self.start_content(size);
            let mut content = Vec::with_capacity(size as usize);
            self.read_to_end(&mut content)?;
            match kind {
                EntryType::XHeader => parse_pax(&content, &mut extended)?,
                EntryType::GNULongName => extended.path = Some(until_nul(&content).to_vec()),
                EntryType::GNULongLink => extended.link = Some(until_nul(&content).to_vec()),
                _ => {} // a global header: defaults such as a commit id, nothing that changes files
            }
        }
    }

    /// Reads on to the end of the stream, for digests over all of it.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.inner, &mut io::sink()).map(drop)
    }

    fn start_content(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn next_header(&mut self) -> Result<Option<Header>, TarError> {
        io::copy(self, &mut io::sink())?;
        let padding = std::mem::take(&mut self.padding);
        if io::copy(&mut (&mut self.inner).take(padding), &mut io::sink())? != padding {
            return bad("the archive is cut short");
        }
        if self.ended {
            return Ok(None);
        }
        let mut header = Header::new_old();
        match read_block(&mut self.inner, header.as_mut_bytes())? {
            0 => self.ended = true,
            BLOCK => self.ended = header.as_bytes().iter().all(|b| *b == 0),
            _ => return bad("the archive is cut short"),
        }
        if self.ended {
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum: u32 =
            bytes.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
        if header.cksum().ok() != Some(sum) {
            return bad("it is not a tar archive, or a header is damaged");
        }
        Ok(Some(header))
    }

    fn entry(&mut self, header: &Header, kind: EntryType, size: u64, extended: Extended) -> Result<Entry, TarError> {
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = extended.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
        if path.len() > PATH_BYTES_MAX || link.len() > PATH_BYTES_MAX {
            return bad(format!("a path is longer than {PATH_BYTES_MAX} bytes"));
        }
        if path.contains(&0) || link.contains(&0) {
            return bad("a path contains a zero byte");
        }
        let shown = String::from_utf8_lossy(&path).into_owned();
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Link => Kind::HardLink,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Char => Kind::CharDevice,
            EntryType::Block => Kind::BlockDevice,
            EntryType::Directory => Kind::Directory,
            EntryType::Fifo => Kind::Fifo,
            EntryType::GNUSparse => {
                return bad(format!("{shown}: sparse entries are not supported, pack without --sparse"));
            }
            other => return bad(format!("{shown}: unknown type of entry {:?}", char::from(other.as_byte()))),
        };
        let content = if kind == Kind::File { size } else { 0 };
        // Only files have content; some writers leave the target's size on a hard link.
        let stored = if matches!(kind, Kind::HardLink | Kind::Symlink | Kind::Directory) { 0 } else { size };
        self.start_content(stored);
        let old = header.as_old();
        let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let id = |pax: Option<u64>, raw: &[u8], parsed, what| -> Result<u32, TarError> {
            let value = match pax {
                Some(value) => value,
                None => number(raw, parsed, what)?,
            };
            u32::try_from(value).or_else(|_| bad(format!("{shown}: {what} {value} is too large")))
        };
        let part = |value: io::Result<Option<u32>>| value.ok().flatten().unwrap_or(0);
        Ok(Entry {
            mode: number(&old.mode, header.mode().map(u64::from), "mode")? as u32 & 0o7777,
            uid: id(extended.uid, &old.uid, header.uid(), "user id")?,
            gid: id(extended.gid, &old.gid, header.gid(), "group id")?,
            mtime_s: extended.mtime.map_or_else(
                || number(&old.mtime, header.mtime(), "time").map(|t| i64::try_from(t).unwrap_or(0)),
                |(seconds, _)| Ok(seconds),
            )?,
            mtime_ns: extended.mtime.map_or(0, |(_, ns)| ns),
            size: content,
            major: if device { part(header.device_major()) } else { 0 },
            minor: if device { part(header.device_minor()) } else { 0 },
            xattrs: extended.xattrs,
            path,
            link,
            kind,
        })
    }
}

/// A numeric field; blank is 0.
fn number(raw: &[u8], parsed: io::Result<u64>, what: &str) -> Result<u64, TarError> {
    if raw.iter().all(|b| *b == 0 || *b == b' ') {
        return Ok(0);
    }
    parsed.or_else(|_| bad(format!("the {what} in a header is not a number")))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// Fills the block, or says how much there was.
fn read_block(reader: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Records `length key=value\n`, where length counts the whole record.
fn parse_pax(mut bytes: &[u8], out: &mut Extended) -> Result<(), TarError> {
    while !bytes.is_empty() {
        let malformed = || TarError::Bad("an extended header is damaged".into());
        let space = bytes.iter().position(|b| *b == b' ').ok_or_else(malformed)?;
        let length: usize =
            std::str::from_utf8(&bytes[..space]).ok().and_then(|t| t.parse().ok()).ok_or_else(malformed)?;
        if length < space + 3 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(malformed());
        }
        let record = &bytes[space + 1..length - 1];
        bytes = &bytes[length..];
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(malformed)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let text = || std::str::from_utf8(value).map_err(|_| malformed());
        if key.starts_with(b"GNU.sparse.") {
            return bad("sparse entries are not supported, pack without --sparse");
        }
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            out.xattrs.push((name.to_vec(), value.to_vec()));
            continue;
        }
        if value.is_empty() {
            continue;
        }
        match key {
            b"path" => out.path = Some(value.to_vec()),
            b"linkpath" => out.link = Some(value.to_vec()),
            b"size" => out.size = Some(text()?.parse().map_err(|_| malformed())?),
            b"uid" => out.uid = Some(text()?.parse().map_err(|_| malformed())?),
            b"gid" => out.gid = Some(text()?.parse().map_err(|_| malformed())?),
            b"mtime" => out.mtime = Some(parse_time(text()?).ok_or_else(malformed)?),
            _ => {}
        }
    }
    Ok(())
}

/// Seconds with a fraction, maybe negative, as (seconds, nanoseconds >= 0).
fn parse_time(text: &str) -> Option<(i64, i64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ns: i64 = format!("{:0<9}", fraction.get(..9).unwrap_or(fraction)).parse().ok()?;
    if text.starts_with('-') && ns > 0 {
        Some((seconds.checked_sub(1)?, 1_000_000_000 - ns))
    } else {
        Some((seconds, ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_an_extended_header_may_contain_newlines() {
        let mut out = Extended::default();
        let record = |key: &str, value: &[u8]| {
            let body = key.len() + value.len() + 3;
            let length = (body + 1..).find(|n| n.to_string().len() + body == *n).expect("some length fits");
            [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
        };
        let bytes = [
            record("SCHILY.xattr.security.capability", b"\x01\x0a\x00\n"),
            record("path", b"a\nb"),
            record("mtime", b"1.5"),
        ]
        .concat();
        parse_pax(&bytes, &mut out).expect("parses");
        assert_eq!(out.xattrs, [(b"security.capability".to_vec(), b"\x01\x0a\x00\n".to_vec())]);
        assert_eq!(out.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(out.mtime, Some((1, 500_000_000)));
        assert!(parse_pax(b"9 path=a", &mut out).is_err());
        assert!(parse_pax(b"99999999999999999999 a=b\n", &mut out).is_err());
    }

    #[test]
    fn times_before_the_epoch_keep_their_fraction() {
        assert_eq!(parse_time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_time("12"), Some((12, 0)));
        assert_eq!(parse_time("1.x"), None);
    }

    #[test]
    fn a_huge_extended_header_is_refused_before_it_is_read() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(1 << 40);
        header.set_cksum();
        let error = TarStream::new(&header.as_bytes()[..]).next_entry().expect_err("too big");
        assert!(matches!(error, TarError::Bad(_)));
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_an_error_or_a_clean_end() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(700);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, "d/".to_owned() + &"x".repeat(200), &[7u8; 700][..]).expect("append");
        let bytes = builder.into_inner().expect("finish");
        for cut in 0..bytes.len() {
            let mut stream = TarStream::new(&bytes[..cut]);
            let mut complete = false;
            while let Ok(next) = stream.next_entry() {
                let Some(entry) = next else { break };
                let mut content = Vec::new();
                complete = stream.read_to_end(&mut content).is_ok() && content.len() as u64 == entry.size;
            }
            assert_eq!(complete, cut >= 512 * 3 + 700, "cut at {cut}");
        }
    }
}
