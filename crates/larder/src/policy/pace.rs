//! At most once a second: for what a flood of messages, or a line that loses many, would else cause each time.

use std::time::Duration;

use larder_core::Moment;

const SPAN: Duration = Duration::from_secs(1);

/// When something was done last, and how often it was asked for since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    last: Option<Moment>,
    held: u64,
}

impl Pace {
    /// Asks to do it now. `Some` with how often that was refused since it was done last; `None` refuses it: then it is
    /// [`due`](Self::due) once the second is over.
    pub(crate) fn ask(&mut self, now: Moment) -> Option<u64> {
        match self.last {
            Some(last) if now < last.after(SPAN) => {
                self.held += 1;
                None
            }
            _ => Some(self.done(now)),
        }
    }

    /// It was done, whoever asked. Answers how often it was refused since the time before.
    pub(crate) fn done(&mut self, now: Moment) -> u64 {
        self.last = Some(now);
        std::mem::take(&mut self.held)
    }

    /// When it is to be done, since it was refused.
    pub(crate) fn due(&self) -> Option<Moment> {
        (self.held > 0).then(|| self.last.unwrap_or_default().after(SPAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_again_within_a_second_is_due_once_at_its_end() {
        let (mut pace, at) = (Pace::default(), Moment::from_millis);
        assert_eq!((pace.ask(at(0)), pace.due()), (Some(0), None), "at once");
        for millis in 1..1_000 {
            assert_eq!(pace.ask(at(millis)), None);
            assert_eq!(pace.due(), Some(at(1_000)));
        }
        assert_eq!((pace.ask(at(1_000)), pace.due()), (Some(999), None));
        assert_eq!(pace.ask(at(1_500)), None);
        assert_eq!((pace.done(at(1_600)), pace.due()), (1, None), "done for another reason");
        assert_eq!(pace.ask(at(2_500)), None);
        assert_eq!(pace.ask(at(2_600)), Some(1));
    }
}
