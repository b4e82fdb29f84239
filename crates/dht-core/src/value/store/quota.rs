//! How much each source has in the store.

use std::collections::BTreeMap;

use super::{ValueError, ValueLimits};
use crate::value::source::Source;

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    values: u32,
    bytes: usize,
}

/// What each source takes; sources without values are not in it.
#[derive(Debug)]
pub(super) struct Quotas(BTreeMap<Source, Usage>);

impl Quotas {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether `source` may have another value of `cost` bytes, in the place of `replaced`.
    pub(super) fn check(
        &self,
        source: Source,
        cost: usize,
        replaced: Option<(Source, usize)>,
        limits: &ValueLimits,
    ) -> Result<(), ValueError> {
        let mut usage = self.0.get(&source).copied().unwrap_or_default();
        if let Some((_, bytes)) = replaced.filter(|(owner, _)| *owner == source) {
            usage.values -= 1;
            usage.bytes -= bytes;
        }
        if usage.values >= limits.values_per_source || usage.bytes + cost > limits.bytes_per_source
        {
            return Err(ValueError::Quota);
        }
        Ok(())
    }

    pub(super) fn add(&mut self, (source, cost): (Source, usize)) {
        let usage = self.0.entry(source).or_default();
        usage.values += 1;
        usage.bytes += cost;
    }

    pub(super) fn remove(&mut self, (source, cost): (Source, usize)) {
        if let Some(usage) = self.0.get_mut(&source) {
            usage.values -= 1;
            usage.bytes -= cost;
            if usage.values == 0 {
                self.0.remove(&source);
            }
        }
    }

    /// Sources with values.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
