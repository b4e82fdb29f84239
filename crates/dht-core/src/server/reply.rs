//! How long an answer may be, and which nodes still fit into it.

use super::Incoming;
use crate::address::Family;
use crate::id::Id;
use crate::krpc::{
    Nodes, Response, Want, compact_address_len, compact_node_len, write_compact_node,
};
use crate::lookup::K;
use crate::node::side::Side;
use crate::node::wire::Wire;

/// The longest answer: an Ethernet frame without the headers of IPv6 and UDP. BEP 32 asks for
/// 1,024 bytes where possible; an item alone may have 1,000.
pub(crate) const MAX_REPLY_LEN: usize = 1_452;

/// An answer to an address that has not shown that it receives is at most this many times the
/// query.
pub(crate) const MAX_AMPLIFICATION: usize = 3;

/// Bytes of an answer with values, besides them: two addresses, ids, token, version, keys.
pub(crate) const RECORDS_OVERHEAD: usize = 200;

/// Bytes of a node list besides the nodes: `5:nodes` or `6:nodes6`, and the length.
const LIST_OVERHEAD: usize = 12;

/// Bytes that an answer to a query of `len` bytes may have.
pub(crate) fn limit(len: usize, is_proved: bool) -> usize {
    if is_proved {
        MAX_REPLY_LEN
    } else {
        (len * MAX_AMPLIFICATION).min(MAX_REPLY_LEN)
    }
}

/// Bytes of a peer in a list: the digits of its length, a colon and the address.
pub(crate) fn peer_len(family: Family) -> usize {
    compact_address_len(family) + if family == Family::V4 { 2 } else { 3 }
}

/// An answer before it is known which nodes go with it.
pub(crate) struct Draft<'a> {
    response: Response<'a>,
    near: Option<Id>,
    extension_only: bool,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(response: Response<'a>) -> Self {
        Self {
            response,
            near: None,
            extension_only: false,
        }
    }

    /// With the nodes nearest to `target`.
    pub(crate) fn near(mut self, target: Id) -> Self {
        self.near = Some(target);
        self
    }

    /// Only nodes that speak the value layer.
    pub(crate) fn extension_only(mut self) -> Self {
        self.extension_only = true;
        self
    }

    /// The answer with as many nodes as `limit` allows; none if it does not even fit without
    /// nodes.
    pub(crate) fn encode(
        self,
        incoming: &Incoming<'_>,
        sides: &[Option<Side>; 2],
        wire: &Wire,
        limit: usize,
    ) -> Option<Vec<u8>> {
        let mut payload = wire.encode_response(&incoming.to, self.response);
        let mut room = limit.checked_sub(payload.len())?;
        let Some(target) = self.near else {
            return Some(payload);
        };
        let mut lists = [Vec::new(), Vec::new()];
        let mut left = self.wanted(incoming).count();
        for family in self.wanted(incoming) {
            // Each family has an equal share.
            let share = room / left;
            left -= 1;
            let Some(side) = &sides[family.index()] else {
                continue;
            };
            let fitting = share.saturating_sub(LIST_OVERHEAD) / compact_node_len(family);
            let list = &mut lists[family.index()];
            let count = fitting.min(K);
            list.reserve_exact(count * compact_node_len(family));
            let (now, source) = (incoming.at.now, &incoming.to.source);
            if self.extension_only {
                let mut nearest = Vec::with_capacity(count);
                side.table
                    .closest_extension(now, &target, &mut nearest, count);
                let others = nearest.iter().filter(|node| node.address != *source);
                others.for_each(|node| write_compact_node(list, node));
            } else {
                side.table.write_closest(now, &target, list, count, source);
            }
            room = room.saturating_sub(list.len() + LIST_OVERHEAD);
        }
        let wanted = |family: Family| {
            let list = &lists[family.index()];
            self.wanted(incoming)
                .any(|wanted| wanted == family)
                .then(|| Nodes::new(family, list))
                .flatten()
        };
        let response = Response {
            nodes: wanted(Family::V4),
            nodes6: wanted(Family::V6),
            ..self.response
        };
        // `nodes` is there even when it is empty, but not where there is no room for the key.
        let complete = wire.encode_response(&incoming.to, response);
        if complete.len() <= limit {
            payload = complete;
        }
        Some(payload)
    }

    /// The families asked for; without `want`, that of the query (BEP 32).
    fn wanted(&self, incoming: &Incoming<'_>) -> impl Iterator<Item = Family> + use<> {
        let asked_over = incoming.family();
        let want = match incoming.query.want {
            Want {
                v4: false,
                v6: false,
            } => Want {
                v4: asked_over == Family::V4,
                v6: asked_over == Family::V6,
            },
            want => want,
        };
        Family::ALL.into_iter().filter(move |family| match family {
            Family::V4 => want.v4,
            Family::V6 => want.v6,
        })
    }
}
