//! The memory of who left: marks of keys without entries, and how long ago they left.

/// Marks in a bucket: half a cache line, and enough that few buckets overflow before their marks are too old anyway.
const BUCKET: usize = 8;
/// How many steps there are in the age of a mark that is about to be forgotten.
const STEPS: usize = 512;

/// A bounded set of marks: of as many as leave while `room` others do, less the few whose bucket was crowded. Two keys
/// with one mark are one ghost, which costs at most an undeserved place.
pub(super) struct Ghosts {
    buckets: Box<[[Mark; BUCKET]]>,
    /// A mark older than so many departures is forgotten.
    room: usize,
    /// How many departures a step of the clock takes, and how many are left of the current one.
    step: u32,
    step_left: u32,
    /// Steps since the beginning. It wraps: whoever was there that long ago was overwritten long since.
    now: u16,
}

/// Part of a key's hash, and when it left.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// Zero is an empty place.
    print: u16,
    left: u16,
}

impl Ghosts {
    pub(super) fn new() -> Self {
        Self { buckets: Box::default(), room: 0, step: 1, step_left: 1, now: 0 }
    }

    /// Remembers a hash until `room` others have left.
    pub(super) fn add(&mut self, hash: u64, room: usize) {
        self.fit(room.max(1));
        self.pass();
        let mark = Mark { print: print(hash), left: self.now };
        let now = self.now;
        let bucket = self.bucket(hash);
        let place = match bucket.iter_mut().find(|there| there.print == mark.print) {
            Some(same) => Some(same),
            None => bucket.iter_mut().max_by_key(|there| there.steps(now)),
        };
        *place.expect("a bucket has places") = mark;
    }

    /// How many have left since the hash did, at most, if it is remembered; it is not any more.
    pub(super) fn take(&mut self, hash: u64) -> Option<usize> {
        if self.buckets.is_empty() {
            return None;
        }
        let (now, step, room) = (self.now, self.step as usize, self.room);
        let there = self.bucket(hash).iter_mut().find(|there| there.print == print(hash))?;
        let age = there.steps(now) as usize * step;
        *there = Mark::default();
        (age <= room).then_some(age)
    }

    /// Makes room, or gives some back, and forgets everybody, since marks do not tell where else they belong.
    fn fit(&mut self, room: usize) {
        let places = self.buckets.len() * BUCKET;
        if room <= places && room + BUCKET >= places / 4 {
            self.room = room;
            return;
        }
        let buckets = (room + room / 2).div_ceil(BUCKET);
        let step = u32::try_from(room / STEPS).unwrap_or(u32::MAX).max(1);
        *self = Self {
            buckets: vec![[Mark::default(); BUCKET]; buckets].into_boxed_slice(),
            room,
            step,
            step_left: step,
            now: 0,
        };
    }

    fn pass(&mut self) {
        self.step_left -= 1;
        if self.step_left == 0 {
            (self.now, self.step_left) = (self.now.wrapping_add(1), self.step);
        }
    }

    fn bucket(&mut self, hash: u64) -> &mut [Mark; BUCKET] {
        let low = u64::from(hash as u32);
        &mut self.buckets[((low * self.buckets.len() as u64) >> 32) as usize]
    }
}

impl Mark {
    /// Its age; an empty place is older than all.
    fn steps(self, now: u16) -> u32 {
        if self.print == 0 { u32::MAX } else { u32::from(now.wrapping_sub(self.left)) }
    }
}

/// Bits that choose neither the shard nor the bucket.
fn print(hash: u64) -> u16 {
    ((hash >> 48) as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93)
    }

    #[test]
    fn whoever_left_lately_is_remembered_with_an_age_and_is_a_ghost_no_more_once_taken() {
        let mut ghosts = Ghosts::new();
        (0..10_000).for_each(|number| ghosts.add(hash(number), 1_000));
        let ages: Vec<_> =
            (9_000..10_000).filter_map(|number| Some((number, ghosts.take(hash(number))?))).collect();
        assert!(ages.len() > 900, "{} of 1000", ages.len());
        for (number, age) in ages {
            assert!(age.abs_diff(9_999 - number as usize) <= 4, "{number} is {age} old");
        }
        assert!((9_000..10_000).all(|number| ghosts.take(hash(number)).is_none()));
    }

    #[test]
    fn the_old_are_forgotten() {
        let mut ghosts = Ghosts::new();
        (0..10_000).for_each(|number| ghosts.add(hash(number), 1_000));
        let remembered = (0..8_900).filter(|&number| ghosts.take(hash(number)).is_some()).count();
        assert!(remembered < 20, "{remembered}, which is more than chance");
    }

    #[test]
    fn a_clock_that_wraps_forgets_nobody_too_early() {
        let mut ghosts = Ghosts::new();
        (0..300_000).for_each(|number| ghosts.add(hash(number), 4));
        assert_eq!((299_996..300_000).filter(|&number| ghosts.take(hash(number)).is_some()).count(), 4);
    }

    #[test]
    fn nothing_is_allocated_before_somebody_left_and_room_is_given_back() {
        let mut ghosts = Ghosts::new();
        assert_eq!((ghosts.take(hash(1)), ghosts.buckets.len()), (None, 0));
        ghosts.add(hash(1), 10_000);
        let many = ghosts.buckets.len();
        ghosts.add(hash(2), 100);
        assert!(ghosts.buckets.len() < many / 50);
        assert_eq!(ghosts.take(hash(2)), Some(0));
    }
}
