//! Whose a resource is.
//!
//! TensorFlow knows a resource by its engine's name alone, and whoever is done with it has that name deleted. Where a model is loaded
//! again before the old version goes (a hot reload), both are of one resource, and the old one would take the new one's engines along.
//! So owners are counted: the resource ends with the last one. Which owner goes TensorFlow does not say; it is taken to be the load
//! that was first, of those whose engines no kernel uses any more.

use super::engines::{Identity, Use};
use super::own_engines::Brought;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub struct Owners {
    /// Whether a call made the resource, as a converter's do: then nobody has loaded it.
    call: bool,
    /// The oldest first.
    loads: Vec<Load>,
    /// Owners that have gone, and whose load is not known yet.
    gone: usize,
    next: u64,
}

#[derive(Debug)]
struct Load {
    number: u64,
    /// Whether all that it brings is there.
    done: bool,
    brought: BTreeSet<Identity>,
}

impl Owners {
    /// A call uses the resource: it is an owner where there is no other.
    pub fn call(&mut self) {
        self.call |= self.loads.is_empty();
    }

    /// A load begins; its number.
    pub fn begin(&mut self) -> u64 {
        self.next += 1;
        self.loads.push(Load {
            number: self.next,
            done: false,
            brought: BTreeSet::new(),
        });
        self.next
    }

    /// The load brings engines of this segment, or finds them there.
    pub fn brings(&mut self, load: u64, identity: Identity) {
        for one in self.loads.iter_mut().filter(|one| one.number == load) {
            one.brought.insert(identity);
        }
    }

    pub fn done(&mut self, load: u64) {
        for one in self.loads.iter_mut().filter(|one| one.number == load) {
            one.done = true;
        }
    }

    /// An owner goes.
    pub fn leave(&mut self) {
        match self.call {
            true => self.call = false,
            false => self.gone += 1,
        }
    }

    /// Whether nobody is left.
    pub fn none(&self) -> bool {
        !self.call && self.gone >= self.loads.len()
    }

    /// Finds out whose load has gone, as far as that can be told: `usage` says of which segments kernels live. A load that was not called
    /// yet has no kernels either: it has gone only if no older one is left that may be meant.
    pub fn settle(&mut self, usage: impl Fn(Identity) -> Use) {
        while self.gone > 0 {
            let over = self.loads.iter().enumerate().position(|(at, load)| {
                let others = || self.loads.iter().filter(|other| other.number != load.number);
                let free = |id: &Identity| usage(*id) != Use::Now || others().any(|other| other.brought.contains(id));
                let called = load.brought.iter().any(|id| usage(*id) != Use::Never);
                load.done && (at == 0 || called) && load.brought.iter().all(free)
            });
            let Some(over) = over else { return };
            self.loads.remove(over);
            self.gone -= 1;
        }
    }

    /// Which of those that have loaded the resource brought engines of this segment.
    pub fn brought(&self, identity: Identity) -> Brought {
        let all = self.loads.len();
        match self.loads.iter().filter(|load| load.brought.contains(&identity)).count() {
            0 => Brought::None,
            some if some < all => Brought::Some,
            _ => Brought::All,
        }
    }

    /// Whether some owner may need the engines of this segment: one that brought them, or a call's, which says nothing of it.
    pub fn need(&self, identity: Identity) -> bool {
        self.call || self.loads.iter().any(|load| load.brought.contains(&identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Identity {
        Identity {
            segment: [n; 32],
            settings: [0; 32],
            node: None,
        }
    }

    /// Kernels of one segment live; those of others were there.
    fn now(n: u8) -> impl Fn(Identity) -> Use {
        move |identity| if identity == id(n) { Use::Now } else { Use::Before }
    }

    fn load(owners: &mut Owners, brought: &[u8]) {
        let number = owners.begin();
        for n in brought {
            owners.brings(number, id(*n));
        }
        owners.done(number);
    }

    #[test]
    fn the_last_owner_ends_it() {
        let mut owners = Owners::default();
        assert!(owners.none());
        load(&mut owners, &[1]);
        owners.call();
        load(&mut owners, &[1]);
        owners.leave();
        // A kernel of the one that stays lives; the other one brought the same.
        owners.settle(|_| Use::Now);
        assert!(!owners.none() && owners.need(id(1)));
        owners.leave();
        assert!(owners.none());
    }

    #[test]
    fn a_converter_is_an_owner_and_goes_before_what_was_loaded() {
        let mut owners = Owners::default();
        owners.call();
        assert!(!owners.none() && owners.need(id(7)));
        load(&mut owners, &[1]);
        owners.leave();
        owners.settle(|_| Use::Before);
        assert!(!owners.none() && owners.need(id(1)) && !owners.need(id(7)));
        owners.leave();
        assert!(owners.none());
    }

    #[test]
    fn of_two_versions_the_one_without_kernels_has_gone_else_the_older() {
        let mut owners = Owners::default();
        load(&mut owners, &[1]);
        load(&mut owners, &[2]);
        owners.leave();
        // The kernels of both live yet: nothing is settled, and both keep their engines.
        owners.settle(|_| Use::Now);
        assert!(owners.need(id(1)) && owners.need(id(2)) && !owners.none());
        owners.settle(now(1));
        assert!(owners.need(id(1)) && !owners.need(id(2)));
        load(&mut owners, &[3]);
        owners.leave();
        owners.settle(|_| Use::Before);
        assert!(!owners.need(id(1)) && owners.need(id(3)));
    }

    #[test]
    fn a_new_version_that_was_not_called_yet_has_not_gone() {
        let mut owners = Owners::default();
        load(&mut owners, &[1]);
        load(&mut owners, &[2]);
        owners.leave();
        // The first one's kernel lives a little longer than its model.
        owners.settle(|identity| if identity == id(1) { Use::Now } else { Use::Never });
        assert!(owners.need(id(1)) && owners.need(id(2)));
        owners.settle(|identity| if identity == id(1) { Use::Before } else { Use::Never });
        assert!(!owners.need(id(1)) && owners.need(id(2)));
    }

    #[test]
    fn engines_are_of_those_that_brought_them() {
        let mut owners = Owners::default();
        assert_eq!(owners.brought(id(1)), Brought::None);
        load(&mut owners, &[1]);
        load(&mut owners, &[1, 2]);
        assert_eq!((owners.brought(id(1)), owners.brought(id(2))), (Brought::All, Brought::Some));
        // One that brings nothing, since its file is empty, may be the one that calls.
        owners.begin();
        assert_eq!(owners.brought(id(1)), Brought::Some);
    }

    #[test]
    fn a_load_that_is_under_way_has_not_gone() {
        let mut owners = Owners::default();
        load(&mut owners, &[1]);
        let second = owners.begin();
        owners.leave();
        owners.settle(now(1));
        assert!(owners.need(id(1)));
        owners.brings(second, id(2));
        assert!(owners.need(id(2)));
        owners.done(second);
        owners.settle(now(1));
        assert!(owners.need(id(1)) && !owners.need(id(2)));
    }
}
