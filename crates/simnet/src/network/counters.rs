//! What went through a network.

/// Datagrams and their bytes (payload alone), of one machine or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams handed to the network.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams delivered.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
}

impl Traffic {
    pub(crate) fn count_sent(&mut self, bytes: usize) {
        self.sent += 1;
        self.sent_bytes += bytes as u64;
    }

    pub(crate) fn count_received(&mut self, bytes: usize) {
        self.received += 1;
        self.received_bytes += bytes as u64;
    }

    /// What was added since an `earlier` reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            received: self.received - earlier.received,
            received_bytes: self.received_bytes - earlier.received_bytes,
        }
    }
}

/// Counters of a network since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// All that was sent and delivered.
    pub traffic: Traffic,
    /// Datagrams lost by chance.
    pub lost: u64,
    /// Datagrams to addresses where no machine is, or a killed one.
    pub vanished: u64,
    /// Datagrams between machines of different groups.
    pub partitioned: u64,
    /// Datagrams that a NAT did not let in.
    pub filtered: u64,
    /// Time-outs handled by machines.
    pub timeouts: u64,
}
