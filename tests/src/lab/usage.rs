//! What processes cost: CPU time and memory, read from `/proc`.

use std::time::Duration;

/// CPU time and memory of one or more processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all threads, also of those that ended, and of the children that it
    /// waited for. Resolution 10 ms.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub resident: u64,
    /// The part of it that is no file's, bytes: what was written to, heaps and stacks.
    pub anonymous: u64,
    /// Threads alive.
    pub threads: u32,
}

impl Usage {
    /// Reads one process; `None` when it is gone.
    pub fn of_process(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(&stat, &status)
    }

    /// Sum over the processes of `pids` that still live.
    pub fn of_processes(pids: &[u32]) -> Self {
        pids.iter()
            .filter_map(|pid| Self::of_process(*pid))
            .fold(Self::default(), |sum, one| Self {
                cpu: sum.cpu + one.cpu,
                resident: sum.resident + one.resident,
                anonymous: sum.anonymous + one.anonymous,
                threads: sum.threads + one.threads,
            })
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // proc(5): the name in parentheses may hold spaces; fields 14 to 17 are utime, stime,
        // cutime and cstime.
        let (_, fields) = stat.rsplit_once(')')?;
        let times: Vec<u64> = fields
            .split_whitespace()
            .skip(11)
            .take(4)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let ticks: u64 = times.iter().sum();
        let number = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            cpu: Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()),
            resident: number("VmRSS:")? * 1024,
            anonymous: number("RssAnon:")? * 1024,
            threads: u32::try_from(number("Threads:")?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 0 1 0 0 0 250 40 6 4 20 0 1 0 9 0 0";
        let status = "Name:\ta\nVmRSS:\t    2048 kB\nRssAnon:\t     512 kB\nThreads:\t3\n";
        let usage = Usage::parse(stat, status).unwrap();
        assert_eq!(
            usage.cpu.as_millis() as u64,
            300 * 1000 / rustix::param::clock_ticks_per_second()
        );
        assert_eq!((usage.resident, usage.threads), (2 << 20, 3));
        assert_eq!(usage.anonymous, 512 << 10);
    }

    #[test]
    fn the_test_itself_has_memory_and_a_thread() {
        let usage = Usage::of_process(std::process::id()).unwrap();
        assert!(usage.resident > 0 && usage.threads > 0);
    }
}
