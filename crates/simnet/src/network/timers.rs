//! One alarm per machine: a four-ary heap in which every machine knows its place.

use super::Moment;

/// Children of an entry of the heap. Four are shallower than two, and lie side by side.
const ARITY: usize = 4;

/// Marks a machine without an alarm.
const NOWHERE: u32 = u32::MAX;

/// The alarms of all machines, at most one each.
///
/// A machine whose time-out moves further away keeps its alarm: it finds out when the alarm
/// rings and sets it anew. So the answers that a machine gets in time cost nothing here.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: Vec<(Moment, u32)>,
    /// Where in the heap the alarm of each machine is.
    places: Vec<u32>,
}

impl Timers {
    /// Sees to it that the alarm of `machine` rings at `moment` or before.
    pub(super) fn ring_by(&mut self, machine: u32, moment: Moment) {
        let index = machine as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, NOWHERE);
        }
        let place = self.places[index];
        if place == NOWHERE {
            self.heap.push((moment, machine));
            self.rise(self.heap.len() - 1);
        } else if moment.at < self.heap[place as usize].0.at {
            self.heap[place as usize].0 = moment;
            self.rise(place as usize);
        }
    }

    /// Turns the alarm of `machine` off.
    pub(super) fn silence(&mut self, machine: u32) {
        let Some(&place) = self.places.get(machine as usize) else {
            return;
        };
        if place == NOWHERE {
            return;
        }
        let place = place as usize;
        self.heap.swap_remove(place);
        self.places[machine as usize] = NOWHERE;
        if place < self.heap.len() {
            self.sink(place);
            self.rise(place);
        }
    }

    /// The next alarm, and whose it is.
    pub(super) fn next(&self) -> Option<(Moment, u32)> {
        self.heap.first().copied()
    }

    /// Moves the next alarm to `moment`, which is not before it.
    pub(super) fn postpone_next(&mut self, moment: Moment) {
        if let Some(first) = self.heap.first_mut() {
            first.0 = moment;
            self.sink(0);
        }
    }

    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / ARITY;
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let first = place * ARITY + 1;
            let last = (first + ARITY).min(self.heap.len());
            let Some(child) = (first..last).min_by_key(|&child| self.heap[child].0) else {
                break;
            };
            if self.heap[child].0 >= entry.0 {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: (Moment, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Rng;

    const MACHINES: u64 = 50;

    /// Every operation beside a map of machine to moment.
    #[test]
    fn agree_with_a_sorted_map() {
        let mut rng = Rng::new(11);
        let mut timers = Timers::default();
        let mut model: BTreeMap<u32, Moment> = BTreeMap::new();
        for sequence in 0..100_000 {
            let machine = (rng.next_u64() % MACHINES) as u32;
            let at = rng.next_u64() % 1_000;
            let moment = Moment { at, sequence };
            match rng.next_u64() % 4 {
                0 | 1 => {
                    timers.ring_by(machine, moment);
                    let known = model.entry(machine).or_insert(moment);
                    if at < known.at {
                        *known = moment;
                    }
                }
                2 => {
                    timers.silence(machine);
                    model.remove(&machine);
                }
                _ => {
                    if let Some((next, machine)) = timers.next() {
                        let later = Moment {
                            at: next.at + at,
                            sequence,
                        };
                        timers.postpone_next(later);
                        model.insert(machine, later);
                    }
                }
            }
            let expected = model.iter().map(|(&machine, &at)| (at, machine)).min();
            assert_eq!(timers.next(), expected);
            assert_eq!(timers.heap.len(), model.len());
        }
    }
}
