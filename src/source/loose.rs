//! A check of loose objects before libgit2 reads them.
//!
//! libgit2 (1.9) spins for ever on a loose object whose zlib stream is cut off
//! (`git_zstream_get_output` takes no progress for success), which is what a
//! power cut leaves of the newest commits. So every object is checked before
//! its content is asked for; its header is safe to read.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use flate2::{Decompress, FlushDecompress, Status};
use git2::{Error, ErrorClass, ErrorCode, Oid};

/// Fails where `id` is a loose object that is cut off, or inflates to more
/// than `limit` bytes.
pub(super) fn check(git: &git2::Repository, id: Oid, limit: usize) -> Result<(), Error> {
    let name = id.to_string();
    let (folder, file) = name.split_at(2);
    let path = git.commondir().join("objects").join(folder).join(file);
    let damaged = |problem: String| Error::new(ErrorCode::GenericError, ErrorClass::Odb, problem);
    match File::open(path) {
        // It is in a pack, or nowhere, which libgit2 finds out.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(damaged(format!("the object {id} cannot be read: {error}"))),
        Ok(file) => match is_whole(BufReader::new(file), limit as u64) {
            Ok(true) => Ok(()),
            Ok(false) => Err(damaged(format!("the object {id} is cut off or damaged"))),
            Err(error) => Err(damaged(format!("the object {id} cannot be read: {error}"))),
        },
    }
}

/// Whether the zlib stream ends as it should, within `limit` bytes.
fn is_whole(mut input: impl BufRead, limit: u64) -> io::Result<bool> {
    let mut inflate = Decompress::new(true);
    let mut output = [0; 16 * 1024];
    loop {
        let compressed = input.fill_buf()?;
        let (read, written) = (inflate.total_in(), inflate.total_out());
        let Ok(status) = inflate.decompress(compressed, &mut output, FlushDecompress::None) else {
            return Ok(false);
        };
        if status == Status::StreamEnd {
            return Ok(true);
        }
        let consumed = inflate.total_in() - read;
        let stuck = consumed == 0 && inflate.total_out() == written;
        if stuck || inflate.total_out() > limit {
            return Ok(false);
        }
        input.consume(usize::try_from(consumed).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    #[test]
    fn a_stream_is_whole_at_its_end_only() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        encoder.write_all(&content).unwrap();
        let stream = encoder.finish().unwrap();
        let whole =
            |bytes: &[u8]| is_whole(BufReader::with_capacity(1000, bytes), 1 << 20).unwrap();
        assert!(whole(&stream));
        for end in (0..stream.len()).step_by(997).chain([stream.len() - 1]) {
            assert!(!whole(&stream[..end]), "{end}");
        }
        assert!(!whole(b"garbage"));
        assert!(!is_whole(&stream[..], 1000).unwrap(), "more than the limit");
    }
}
