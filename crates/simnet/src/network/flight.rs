//! The datagrams that are under way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use super::Moment;

/// A datagram that has left and not arrived.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) source: SocketAddr,
    /// The group of the sender when it sent.
    pub(super) group: u16,
    /// The index of the machine it goes to.
    pub(super) to: u32,
    pub(super) payload: Vec<u8>,
}

/// All datagrams under way: a heap of moments over a slab whose places are used again.
#[derive(Debug, Default)]
pub(super) struct Flights {
    arrivals: BinaryHeap<Reverse<(Moment, u32)>>,
    places: Vec<Option<Datagram>>,
    free: Vec<u32>,
}

impl Flights {
    pub(super) fn depart(&mut self, arrival: Moment, datagram: Datagram) {
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = Some(datagram);
                place
            }
            None => {
                self.places.push(Some(datagram));
                (self.places.len() - 1) as u32
            }
        };
        self.arrivals.push(Reverse((arrival, place)));
    }

    /// When the next one arrives.
    pub(super) fn next(&self) -> Option<Moment> {
        self.arrivals.peek().map(|Reverse((moment, _))| *moment)
    }

    /// Takes the next one to arrive.
    pub(super) fn arrive(&mut self) -> Option<Datagram> {
        let Reverse((_, place)) = self.arrivals.pop()?;
        self.free.push(place);
        self.places[place as usize].take()
    }

    pub(super) fn len(&self) -> usize {
        self.arrivals.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(to: u32) -> Datagram {
        Datagram {
            source: SocketAddr::from(([192, 0, 2, 1], 1)),
            group: 0,
            to,
            payload: Vec::new(),
        }
    }

    #[test]
    fn arrive_by_time_then_by_departure_and_places_are_used_again() {
        let mut flights = Flights::default();
        for round in 0..100u64 {
            for (sequence, at) in [(0, 30), (1, 10), (2, 20), (3, 10)] {
                let arrival = Moment {
                    at: round * 100 + at,
                    sequence,
                };
                flights.depart(arrival, datagram(sequence as u32));
            }
            let order: Vec<u32> = std::iter::from_fn(|| flights.arrive())
                .map(|datagram| datagram.to)
                .collect();
            assert_eq!(order, [1, 3, 2, 0]);
        }
        assert_eq!(flights.places.len(), 4);
        assert_eq!(flights.len(), 0);
        assert!(flights.next().is_none());
    }
}
