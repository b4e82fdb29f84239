//! An unnamed network namespace: a descriptor that keeps it alive, and a thread that starts
//! children inside it.
//!
//! The keeper thread lives as long as the namespace, and each child is bound to it by a death
//! signal: when the test process is killed, its children go with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::process::Child;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::kernel;

struct Start {
    command: std::process::Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
    inode: u64,
    starts: Option<mpsc::Sender<Start>>,
    keeper: Option<JoinHandle<()>>,
}

impl Namespace {
    pub(crate) fn new() -> io::Result<Self> {
        let (starts, inbox) = mpsc::channel::<Start>();
        let (made, ready) = mpsc::sync_channel(1);
        let keeper = std::thread::Builder::new()
            .name("namespace".into())
            .spawn(move || {
                let file =
                    kernel::unshare_network().and_then(|()| File::open("/proc/thread-self/ns/net"));
                let failed = file.is_err();
                if made.send(file).is_err() || failed {
                    return;
                }
                while let Ok(Start { mut command, reply }) = inbox.recv() {
                    kernel::die_with_thread(&mut command);
                    let _ = reply.send(command.spawn());
                }
            })?;
        let file = ready
            .recv()
            .map_err(|_| io::Error::other("the keeper thread ended"))??;
        let inode = file.metadata()?.ino();
        Ok(Self {
            file,
            inode,
            starts: Some(starts),
            keeper: Some(keeper),
        })
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a child inside the namespace.
    pub(crate) fn start(&self, command: std::process::Command) -> io::Result<Child> {
        let gone = || io::Error::other("the keeper thread ended");
        let (reply, answer) = mpsc::sync_channel(1);
        let starts = self.starts.as_ref().ok_or_else(gone)?;
        starts.send(Start { command, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// A path by which other processes, `ip` for one, can name this namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Processes that live in this namespace, by their main thread.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let own = std::process::id();
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != own && inode_of(*pid) == Some(self.inode))
            .collect()
    }

    /// The kernel's number for this namespace.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }
}

/// The network namespace that a process lives in.
pub(crate) fn inode_of(pid: u32) -> Option<u64> {
    Some(std::fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino())
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for pid in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        self.starts = None;
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
