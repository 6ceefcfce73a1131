//! What this process uses, as Linux counts it (proc(5)).

use std::fs;
use std::time::Duration;

/// The resident memory, in bytes.
pub(crate) fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("a line VmRSS") * 1024
}

/// The processor time of all threads that are there, in nanoseconds precise.
pub(crate) fn processor_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let spent = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
