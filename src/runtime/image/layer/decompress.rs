//! Finds out how a stream is compressed from its first bytes, not from what somebody calls it.

use std::io::{self, BufReader, Read};

/// Bytes read from the source at a time.
const BUFFER_BYTES: usize = 128 << 10;

/// A reader of the plain bytes.
pub(crate) fn decompress<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::with_capacity(6);
    (&mut source).take(6).read_to_end(&mut magic)?;
    let kind = magic.clone();
    let whole = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(magic).chain(source));
    let unsupported = |name: &str| {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{name} compression is not supported, use gzip or zstd"),
        ))
    };
    match kind.as_slice() {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Box::new(zstd::stream::read::Decoder::with_buffer(whole)?)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => unsupported("xz"),
        [b'B', b'Z', b'h', ..] => unsupported("bzip2"),
        _ => Ok(Box::new(whole)),
    }
}

/// Lets through at most `limit` bytes, then fails; catches small archives that unpack to huge ones.
pub(crate) struct LimitedReader<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> LimitedReader<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, limit }
    }
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it unpacks to more than the limit of {} bytes", self.limit),
            )
        })?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn gzip_zstd_and_plain_streams_give_the_same_bytes() {
        let plain = b"hello hello hello".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).expect("compress");
        let twice = [gzip.finish().expect("finish"), {
            let mut second = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            second.write_all(b"!").expect("compress");
            second.finish().expect("finish")
        }]
        .concat();
        let zstd = zstd::stream::encode_all(&plain[..], 1).expect("compress");
        let read = |bytes: &[u8]| {
            let mut out = Vec::new();
            decompress(bytes).and_then(|mut r| r.read_to_end(&mut out)).map(|_| out)
        };
        assert_eq!(read(&twice).expect("gzip"), [&plain[..], b"!"].concat());
        assert_eq!(read(&zstd).expect("zstd"), plain);
        assert_eq!(read(&plain).expect("plain"), plain);
        assert_eq!(read(b"").expect("empty"), b"");
        assert!(read(b"\xfd7zXZ\x00rest").is_err());
        assert!(read(&zstd[..zstd.len() / 2]).is_err());
    }

    #[test]
    fn more_than_the_limit_is_an_error_not_a_short_read() {
        let read = |n: usize| LimitedReader::new(&vec![0u8; n][..], 10).read_to_end(&mut Vec::new());
        assert_eq!(read(10).expect("fits"), 10);
        assert!(read(11).is_err());
    }
}
