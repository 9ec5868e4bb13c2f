//! What stands in a pipe and was not read.

use std::os::fd::{AsFd, AsRawFd};

/// How many bytes of a pipe nobody has read yet, asked at either end; ioctl_list(2), FIONREAD.
pub fn unread(pipe: &impl AsFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    let asked = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if asked == 0 {
        usize::try_from(count).unwrap_or(0)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_was_written_and_not_read_is_counted_even_when_the_reader_is_gone() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"one line").unwrap();
        assert_eq!(unread(&writer), 8);
        reader.read_exact(&mut [0; 3]).unwrap();
        assert_eq!(unread(&writer), 5);
        drop(reader);
        assert_eq!(unread(&writer), 5);
    }
}
