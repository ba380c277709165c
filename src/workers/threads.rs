//! Workers that are threads of one process, for tests.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Link, Values, Workers};

/// What the workers have handed in for one sum, in the order of their ranks.
type Round = Vec<Option<(Values, Sender<Values>)>>;

struct ThreadLink {
    rank: usize,
    size: usize,
    /// Sums that this worker has started.
    started: Mutex<usize>,
    rounds: Arc<Mutex<HashMap<usize, Round>>>,
}

/// Runs `work` on `size` workers at once; the results, in the order of their ranks.
pub(crate) fn run<T: Send>(size: usize, work: impl Fn(&Workers) -> T + Sync) -> Vec<T> {
    let rounds = Arc::new(Mutex::new(HashMap::new()));
    let link = |rank| ThreadLink { rank, size, started: Mutex::new(0), rounds: Arc::clone(&rounds) };
    let workers: Vec<Workers> = (0..size).map(|rank| Workers::linked(Arc::new(link(rank)))).collect();
    thread::scope(|scope| {
        let running: Vec<_> = workers.iter().map(|workers| scope.spawn(|| work(workers))).collect();
        running.into_iter().map(|worker| worker.join().expect("no worker panics")).collect()
    })
}

fn add(a: Values, b: Values) -> Values {
    let len = |values: &Values| match values {
        Values::Single(v) => v.len(),
        Values::Double(v) => v.len(),
    };
    assert_eq!(len(&a), len(&b), "workers sum up different things");
    match (a, b) {
        (Values::Single(a), Values::Single(b)) => Values::Single(a.iter().zip(b).map(|(a, b)| a + b).collect()),
        (Values::Double(a), Values::Double(b)) => Values::Double(a.iter().zip(b).map(|(a, b)| a + b).collect()),
        (a, b) => panic!("workers sum up different things: {a:?} and {b:?}"),
    }
}

impl Link for ThreadLink {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn start(&self, values: Values) -> Receiver<Values> {
        let number = {
            let mut started = self.started.lock().unwrap();
            *started += 1;
            *started
        };
        let (reply, sums) = channel();
        let mut rounds = self.rounds.lock().unwrap();
        let round = rounds.entry(number).or_insert_with(|| (0..self.size).map(|_| None).collect());
        round[self.rank] = Some((values, reply));
        if round.iter().all(Option::is_some) {
            let (values, replies): (Vec<_>, Vec<_>) = rounds.remove(&number).into_iter().flatten().flatten().unzip();
            let sum = values.into_iter().reduce(add).expect("there is a worker");
            replies.iter().for_each(|reply| reply.send(sum.clone()).unwrap());
        }
        sums
    }

    fn leave(&self) {}

    fn abort(&self) -> ! {
        panic!("worker {} gave up", self.rank)
    }
}
