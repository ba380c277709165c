//! Workers linked by MPI.
//!
//! One thread does all calls of MPI. It starts non-blocking sums in the order they are asked for and looks after the one
//! under way, asleep in between: implementations move a non-blocking sum on only inside their calls, and their own waits
//! keep a core busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mpi::Threading;
use mpi::collective::{CommunicatorCollectives, SystemOperation};
use mpi::datatype::Equivalence;
use mpi::request;
use mpi::topology::{Communicator, SimpleCommunicator};
use yoloslim_core::{Error, Result};

use super::{Link, Values, Workers, launcher};

/// Looks that are taken at a sum without sleeping.
const EAGER_LOOKS: u32 = 100;
/// The first sleep, which doubles from look to look, and the longest.
const SLEEP: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(2)];
/// What MPI tells the launcher when a worker ends the job.
const FAILED: i32 = 1;

struct Job {
    values: Values,
    reply: Sender<Values>,
}

struct MpiLink {
    rank: usize,
    size: usize,
    /// None once the link is left.
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    aborting: Arc<AtomicBool>,
}

pub(super) fn join() -> Result<Workers> {
    if !launcher::is_there() {
        return Ok(Workers::alone());
    }
    let ((jobs, inbox), (introduce, introduced)) = (channel(), channel());
    let aborting = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&aborting);
    let thread = thread::spawn(move || serve(&inbox, &introduce, &stop));
    let Ok((rank, size)) = introduced.recv() else {
        return Err(
            Error::at("mpirun", "MPI can't be started").fix("use the mpirun of the MPI that this was built with")
        );
    };
    let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
    let link = Arc::new(MpiLink { rank, size, jobs, thread, aborting });
    if size == 1 {
        link.leave();
        return Ok(Workers::alone());
    }
    Ok(Workers::linked(link))
}

/// The thread of all calls of MPI: from its start to its end.
fn serve(jobs: &Receiver<Job>, introduce: &Sender<(usize, usize)>, aborting: &AtomicBool) {
    let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
    let world = universe.world();
    // Whoever asked for a sum and is gone needs no answer.
    _ = introduce.send((world.rank() as usize, world.size() as usize));
    for Job { values, reply } in jobs {
        _ = reply.send(match values {
            Values::Single(values) => Values::Single(sum(&world, &values, aborting)),
            Values::Double(values) => Values::Double(sum(&world, &values, aborting)),
        });
    }
    if aborting.load(Ordering::SeqCst) {
        world.abort(FAILED);
    }
}

fn sum<T: Equivalence + Clone + Default>(world: &SimpleCommunicator, values: &[T], aborting: &AtomicBool) -> Vec<T> {
    let mut sums = vec![T::default(); values.len()];
    request::scope(|scope| {
        let op = SystemOperation::sum();
        let mut request = world.immediate_all_reduce_into(scope, values, &mut sums[..], op);
        let (mut looks, mut sleep) = (0, SLEEP[0]);
        while let Err(unfinished) = request.test() {
            request = unfinished;
            if aborting.load(Ordering::SeqCst) {
                world.abort(FAILED);
            }
            looks += 1;
            if looks < EAGER_LOOKS {
                thread::yield_now();
            } else {
                thread::sleep(sleep);
                sleep = (sleep * 2).min(SLEEP[1]);
            }
        }
    });
    sums
}

impl MpiLink {
    /// No code panics while it holds a lock, so what it guards is sound even if poisoned.
    fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic of the thread has been reported, and there is nothing left to close.
            _ = thread.join();
        }
    }
}

impl Link for MpiLink {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn start(&self, values: Values) -> Receiver<Values> {
        let (reply, sums) = channel();
        if let Some(jobs) = &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            // Where the thread is gone, so is `reply`, and whoever waits learns of it.
            _ = jobs.send(Job { values, reply });
        }
        sums
    }

    fn leave(&self) {
        self.close();
    }

    fn abort(&self) -> ! {
        self.aborting.store(true, Ordering::SeqCst);
        self.close();
        std::process::exit(FAILED)
    }
}
