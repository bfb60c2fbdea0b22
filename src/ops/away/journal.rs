//! The queue's file: one line for what is put in, `CRC + NUMBER BODY`, and one for what is done, `CRC - NUMBER`.
//!
//! A line is written before the request is answered, with one call of the operating system: it survives the end of the
//! process, `kill -9` too. It is brought to the disk (fsync) while the store stays away, about once a second; a machine that
//! loses its power may lose the last second. A last line that was cut off while it was written was never answered for, and is
//! dropped. The file is emptied when all is done.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::error::{Error, ErrorKind, Result};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// After so many lines of what is done the file is written anew without them.
const MOST_DONE: usize = 10_000;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Locked as long as it is open.
    file: File,
    /// The bytes of whole lines.
    len: u64,
    /// What is not done, by number.
    open: BTreeMap<u64, String>,
    done: usize,
    is_synced: bool,
}

impl Journal {
    /// Opens or makes the file, and gives what it says is not done, in order.
    ///
    /// # Errors
    /// `Io` when it cannot be read or another process has it; `Corrupt` when a line in its middle is damaged.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<(u64, String)>)> {
        let failed = |err| failed(path, err);
        let mut file = open_and_lock(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (open, done, len) = read(&bytes).map_err(|line| {
            Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{}: line {line} is damaged; move the file away to start without what it holds, or mend it",
                    path.display()
                ),
            )
        })?;
        if len < bytes.len() {
            tracing::warn!(file = %path.display(), "the last line was cut off while it was written, and is dropped");
        }
        let len = u64::try_from(len).unwrap_or_default();
        file.set_len(len).map_err(failed)?;
        let entries = open.iter().map(|(number, body)| (*number, body.clone())).collect();
        Ok((Self { path: path.to_owned(), file, len, open, done, is_synced: true }, entries))
    }

    pub(super) fn add(&mut self, number: u64, body: &str) -> Result<()> {
        self.write(&line(&format!("+ {number} {body}")))?;
        self.open.insert(number, body.to_owned());
        Ok(())
    }

    pub(super) fn done(&mut self, number: u64) -> Result<()> {
        self.open.remove(&number);
        self.done += 1;
        if self.open.is_empty() {
            self.file.set_len(0).map_err(|err| failed(&self.path, err))?;
            (self.len, self.done) = (0, 0);
            return Ok(());
        }
        if self.done >= MOST_DONE {
            return self.rewrite();
        }
        self.write(&line(&format!("- {number}")))
    }

    /// Done, and kept in a file of its own for people to look at.
    pub(super) fn reject(&mut self, number: u64) -> Result<()> {
        if let Some(body) = self.open.get(&number) {
            let path = beside(&self.path, ".rejected");
            let kept = of_this_user().open(&path);
            kept.and_then(|mut file| file.write_all(&line(&format!("+ {number} {body}"))))
                .map_err(|err| failed(&path, err))?;
        }
        self.done(number)
    }

    /// The file, when it holds what may not be on the disk yet.
    pub(super) fn unsynced(&mut self) -> Option<File> {
        let file = (!self.is_synced).then(|| self.file.try_clone().ok()).flatten();
        self.is_synced = true;
        file
    }

    fn write(&mut self, line: &[u8]) -> Result<()> {
        if let Err(err) = self.file.write_all(line) {
            // A part of a line must not stand before the next.
            let _ = self.file.set_len(self.len);
            return Err(failed(&self.path, err));
        }
        self.len += u64::try_from(line.len()).unwrap_or_default();
        self.is_synced = false;
        Ok(())
    }

    fn rewrite(&mut self) -> Result<()> {
        let path = beside(&self.path, ".new");
        let mut file = open_and_lock(&path)?;
        let lines: Vec<u8> = self.open.iter().flat_map(|(number, body)| line(&format!("+ {number} {body}"))).collect();
        file.set_len(0)
            .and_then(|()| file.write_all(&lines))
            .and_then(|()| file.sync_data())
            .and_then(|()| std::fs::rename(&path, &self.path))
            .map_err(|err| failed(&path, err))?;
        (self.file, self.len) = (file, u64::try_from(lines.len()).unwrap_or_default());
        (self.done, self.is_synced) = (0, true);
        Ok(())
    }
}

fn open_and_lock(path: &Path) -> Result<File> {
    let file = of_this_user().read(true).open(path).map_err(|err| failed(path, err))?;
    fs4::FileExt::try_lock(&file).map_err(|err| {
        let told = format!("{}: another guard uses this file; each needs one of its own", path.display());
        Error::with_source(ErrorKind::Io, told, io::Error::from(err))
    })?;
    Ok(file)
}

/// A file to append to. It tells who spends how much: where it is new nobody else may read it.
fn of_this_user() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn failed(path: &Path, err: io::Error) -> Error {
    Error::with_source(ErrorKind::Io, format!("{}: {err}", path.display()), err)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn line(text: &str) -> Vec<u8> {
    format!("{:08x} {text}\n", CRC.checksum(text.as_bytes())).into_bytes()
}

/// What is not done, how much is, and how many bytes are whole lines; the number of a line that is damaged.
fn read(bytes: &[u8]) -> Result<(BTreeMap<u64, String>, usize, usize), usize> {
    let (mut open, mut done, mut len) = (BTreeMap::new(), 0, 0);
    for (place, whole) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(entry) = read_line(whole) else {
            // Only the last line can lack its end.
            return if whole.ends_with(b"\n") { Err(place + 1) } else { Ok((open, done, len)) };
        };
        match entry {
            (number, Some(body)) => drop(open.insert(number, body.to_owned())),
            (number, None) => {
                open.remove(&number);
                done += 1;
            }
        }
        len += whole.len();
    }
    Ok((open, done, len))
}

fn read_line(whole: &[u8]) -> Option<(u64, Option<&str>)> {
    let (sum, text) = std::str::from_utf8(whole).ok()?.strip_suffix('\n')?.split_once(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != CRC.checksum(text.as_bytes()) {
        return None;
    }
    match text.split_once(' ')? {
        ("+", rest) => {
            let (number, body) = rest.split_once(' ')?;
            Some((number.parse().ok()?, Some(body)))
        }
        ("-", number) => Some((number.parse().ok()?, None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_is_dropped_and_one_that_was_changed_is_not_passed_over() {
        let lines = [line("+ 0 zero"), line("+ 1 one"), line("- 0"), line("+ 2 two")].concat();
        let of = |read: Result<(BTreeMap<u64, String>, usize, usize), usize>| {
            read.map(|(open, _, len)| (open.into_values().collect::<Vec<_>>(), len))
        };
        let last = lines.len() - line("+ 2 two").len();
        for cut in last..lines.len() {
            assert_eq!(of(read(&lines[..cut])), Ok((vec!["one".to_owned()], last)), "cut at {cut}");
        }
        assert_eq!(of(read(&lines)), Ok((vec!["one".to_owned(), "two".to_owned()], lines.len())));
        for place in 0..lines.len() - 1 {
            let mut changed = lines.clone();
            changed[place] ^= 1;
            assert!(read(&changed).is_err(), "byte {place}");
        }
    }

    #[test]
    fn what_is_added_after_a_line_that_was_cut_off_stands_on_a_line_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue");
        std::fs::write(&path, [line("+ 0 zero"), line("+ 1 one")[..9].to_vec()].concat()).unwrap();
        Journal::open(&path).unwrap().0.add(1, "again").unwrap();
        let (_, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries, [(0, "zero".to_owned()), (1, "again".to_owned())]);
    }

    /// In a process of its own, which may write no file longer than 512 or 1024 bytes: as much of a line as fits is written.
    #[cfg(unix)]
    #[test]
    fn a_line_that_could_not_be_written_whole_is_taken_back() {
        const LIMITED: &str = "COSTGUARD_TEST_FILES_ARE_LIMITED";
        if std::env::var_os(LIMITED).is_none() {
            let name = concat!(module_path!(), "::a_line_that_could_not_be_written_whole_is_taken_back");
            let limited = std::process::Command::new("sh")
                .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" --exact \"$1\""])
                .args([std::env::current_exe().unwrap().as_os_str(), name.split_once("::").unwrap().1.as_ref()])
                .env(LIMITED, "1")
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&limited.stdout);
            assert!(limited.status.success() && told.contains(" 1 passed"), "{told}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.add(0, "zero").unwrap();
        assert_eq!(journal.add(1, &"1".repeat(2000)).unwrap_err().kind(), ErrorKind::Io);
        journal.add(1, "one").unwrap();
        drop(journal);
        let (_, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries, [(0, "zero".to_owned()), (1, "one".to_owned())]);
    }

    #[test]
    fn a_file_is_emptied_when_all_is_done_and_bounded_while_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("queue");
        let (mut journal, entries) = Journal::open(&path).unwrap();
        assert!(entries.is_empty());
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600, "it tells who spends how much");
        }
        assert_eq!(Journal::open(&path).unwrap_err().kind(), ErrorKind::Io, "one file serves one guard");
        journal.add(0, "stays").unwrap();
        for number in 1..=20_000 {
            journal.add(number, "goes").unwrap();
            journal.done(number).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() < 700_000);
        drop(journal);
        let (mut journal, entries) = Journal::open(&path).unwrap();
        assert_eq!(entries, [(0, "stays".to_owned())]);
        journal.done(0).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
