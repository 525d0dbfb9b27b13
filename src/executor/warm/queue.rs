//! Questions that wait, and which of them go together.
//!
//! There are two lanes. In the swift one, small images of the same model go together, as many as wait; a child that says
//! nothing for a while is killed there. In the slow one go, each alone, large images and those that a child was lost
//! over. So neither a large image nor one that kills or hangs a child holds up the others. It must not know processes.

use crate::domain::error::{Code, Error, Result};
use crate::domain::ids::RunId;
use crate::domain::prediction::{Image, Prediction};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Images of more pixels go alone.
const LARGE: u64 = 1 << 20;

/// How long a lane waits for the others of a batch at the most.
const GATHER: Duration = Duration::from_millis(1);

/// A question that waits or is being answered.
pub struct Waiting {
    /// Whose model is asked.
    pub run: RunId,
    /// The image.
    pub image: Image,
    /// How many children were lost over it.
    pub losses: u8,
    reply: oneshot::Sender<Result<Prediction>>,
    /// Its place among the questions that the server takes on.
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    /// Answers. Whoever asked may be gone, which is nobody's fault.
    pub fn answer(self, answer: Result<Prediction>) {
        let _ = self.reply.send(answer);
    }
}

/// Which questions a lane takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Small images, together.
    Swift,
    /// What goes alone.
    Slow,
}

/// All questions that no child has yet.
#[derive(Default)]
pub struct Queue {
    swift: VecDeque<Waiting>,
    slow: VecDeque<Waiting>,
    /// How many were answered together last, which is how many are likely to come together again.
    last: usize,
    /// How long that took.
    took: Duration,
}

impl Queue {
    /// A question from outside. Returns its lane, and where its answer comes.
    pub fn ask(
        &mut self,
        run: RunId,
        image: Image,
        pixels: u64,
        place: OwnedSemaphorePermit,
    ) -> (Lane, oneshot::Receiver<Result<Prediction>>) {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { run, image, losses: 0, reply, _place: place };
        if pixels > LARGE {
            self.slow.push_back(waiting);
            (Lane::Slow, answer)
        } else {
            self.swift.push_back(waiting);
            (Lane::Swift, answer)
        }
    }

    /// Takes back those that were with a child that was lost; they go first.
    pub fn again(&mut self, lane: Lane, unanswered: Vec<Waiting>) {
        let queue = self.lane(lane);
        unanswered.into_iter().rev().for_each(|waiting| queue.push_front(waiting));
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Waiting> {
        match lane {
            Lane::Swift => &mut self.swift,
            Lane::Slow => &mut self.slow,
        }
    }

    /// Until when it is worth waiting for more before the lane's next batch is taken; none where it is not.
    pub fn gathers(&self, lane: Lane, since: Instant) -> Option<Instant> {
        let until = since + GATHER.min(self.took / 2);
        (lane == Lane::Swift && self.swift.len() < self.last && Instant::now() < until).then_some(until)
    }

    /// Whether the thread of the swift lane has to know: of the first that waits, and once as many do as came together
    /// last.
    pub fn is_worth_waking(&self) -> bool {
        self.swift.len() == 1 || self.swift.len() >= self.last
    }

    /// Remembers how the last batch of the swift lane went.
    pub fn answered(&mut self, together: usize, took: Duration) {
        (self.last, self.took) = (together, took);
    }

    /// Whether anything waits in a lane.
    pub fn has(&self, lane: Lane) -> bool {
        match lane {
            Lane::Swift => !self.swift.is_empty(),
            Lane::Slow => !self.slow.is_empty(),
        }
    }

    /// Takes what goes together next. Those that nobody waits for any more are dropped.
    pub fn next(&mut self, lane: Lane, most: usize) -> Vec<Waiting> {
        let queue = self.lane(lane);
        queue.retain(|waiting| !waiting.reply.is_closed());
        let most = if lane == Lane::Slow { 1 } else { most };
        let mut batch: Vec<Waiting> = Vec::new();
        let mut rest = VecDeque::new();
        for waiting in queue.drain(..) {
            if batch.len() < most && batch.first().is_none_or(|first| first.run == waiting.run) {
                batch.push(waiting);
            } else {
                rest.push_back(waiting);
            }
        }
        *queue = rest;
        batch
    }

    /// Tells everybody that the server stops.
    pub fn stop(&mut self) {
        for waiting in self.swift.drain(..).chain(self.slow.drain(..)) {
            waiting.answer(Err(stopping()));
        }
    }
}

/// The failure of a question that the server's end came before.
pub fn stopping() -> Error {
    Error::new(Code::Unavailable, "the server is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    struct Asked {
        queue: Queue,
        places: Arc<Semaphore>,
        answers: Vec<oneshot::Receiver<Result<Prediction>>>,
    }

    impl Asked {
        fn new() -> Self {
            Self { queue: Queue::default(), places: Arc::new(Semaphore::new(64)), answers: Vec::new() }
        }

        fn ask(&mut self, run: u64, pixels: u64) -> Lane {
            let place = Arc::clone(&self.places).try_acquire_owned().unwrap();
            let (lane, answer) = self.queue.ask(RunId(run), Image::Bytes(vec![run as u8]), pixels, place);
            self.answers.push(answer);
            lane
        }

        fn runs(&mut self, lane: Lane) -> Vec<u64> {
            self.queue.next(lane, 3).iter().map(|waiting| waiting.run.0).collect()
        }
    }

    #[test]
    fn small_images_of_one_model_go_together_and_large_ones_alone() {
        let mut asked = Asked::new();
        for (run, pixels, lane) in [
            (1, 9, Lane::Swift),
            (2, 9, Lane::Swift),
            (1, 9, Lane::Swift),
            (1, LARGE + 1, Lane::Slow),
            (1, LARGE, Lane::Swift),
            (1, 9, Lane::Swift),
            (1, LARGE + 1, Lane::Slow),
        ] {
            assert_eq!(asked.ask(run, pixels), lane);
        }
        assert_eq!(asked.runs(Lane::Swift), [1, 1, 1]);
        assert_eq!(asked.runs(Lane::Swift), [2]);
        assert_eq!(asked.runs(Lane::Swift), [1]);
        assert_eq!((asked.runs(Lane::Slow), asked.runs(Lane::Slow)), (vec![1], vec![1]));
        assert!(!asked.queue.has(Lane::Swift) && !asked.queue.has(Lane::Slow));
        assert_eq!(asked.places.available_permits(), 64);
    }

    #[test]
    fn whoever_went_away_is_not_answered_and_the_unlucky_go_first() {
        let mut asked = Asked::new();
        for run in 1..=4 {
            asked.ask(run, 1);
        }
        drop(asked.answers.remove(0));
        let batch = asked.queue.next(Lane::Swift, 3);
        assert_eq!(batch[0].run, RunId(2));
        asked.queue.again(Lane::Swift, batch);
        assert_eq!(asked.runs(Lane::Swift), [2]);
        asked.queue.stop();
        let answers: Vec<_> = asked.answers.iter_mut().map(|answer| answer.try_recv()).collect();
        assert!(answers[0].is_err(), "its question was dropped");
        assert!(answers[1..].iter().all(|answer| matches!(answer, Ok(Err(_)))));
    }
}
