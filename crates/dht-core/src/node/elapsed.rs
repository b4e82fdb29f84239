//! Queries whose time runs out.

use std::time::Instant;

use super::Node;
use super::wire::Purpose;
use crate::address::{Contact, Family};
use crate::transactions::{Elapsed, Outstanding, Stage};

impl Node {
    pub(super) fn on_elapsed(&mut self, now: Instant) {
        while let Some(elapsed) = self.wire.transactions.poll_elapsed(now) {
            match elapsed {
                Elapsed::Reached(stage, address, Purpose::Lookup(id)) => {
                    let Some(operation) = self.operations.get_mut(&id) else {
                        continue;
                    };
                    if let Some(lookup) = operation.lookup_mut(Family::of(&address)) {
                        match stage {
                            Stage::Overdue => lookup.on_overdue(address),
                            _ => lookup.on_given_up(address),
                        }
                    }
                    self.drive(now, id);
                }
                Elapsed::Reached(Stage::GivenUp, address, Purpose::Page(id)) => {
                    self.on_page_over(now, id, address);
                }
                Elapsed::Reached(Stage::GivenUp, _, Purpose::Push(pushing)) => {
                    self.on_push_late(now, &pushing);
                }
                Elapsed::Reached(stage, address, Purpose::Store(id)) => {
                    self.on_store_slow(now, id, address, stage);
                }
                Elapsed::Reached(..) => {}
                Elapsed::Expired(query) => self.on_expired(now, &query),
            }
        }
    }

    fn on_expired(&mut self, now: Instant, query: &Outstanding<Purpose>) {
        self.wire.counters.unanswered += 1;
        let address = query.address;
        let side = &mut self.sides[Family::of(&address).index()];
        if let (Some(side), Some(id)) = (side, query.id) {
            let contact = Contact::new(id, address);
            let has_answered = side.table.round_trip(&contact).is_some();
            side.table.on_silence(now, &contact, query.sent);
            self.upkeep.on_loss(now);
            if has_answered {
                self.on_lost(now, contact);
            }
        }
        match &query.purpose {
            Purpose::Lookup(id) => self.on_lookup_failure(now, *id, address),
            Purpose::Page(id) => self.on_page_over(now, *id, address),
            Purpose::Store(id) => self.on_store_silent(now, *id, address),
            Purpose::Push(pushing) => self.on_push_unanswered(pushing),
            Purpose::Upkeep => self.upkeep.on_over(now, address),
            Purpose::Proof(_) => self.server.deferrals.end(address.ip()),
            Purpose::Courtesy => {}
        }
    }
}
