//! [`Walk`]: what one walk over each trace tells, before the steps that look at whole processes.

use crate::critical::Path;
use crate::duplicates;
use crate::emit;
use crate::entry::Entries;
use crate::gaps::{self, Gap};
use crate::meaning::Meaning;
use crate::parallel::both;
use crate::process::{self, Processes};
use crate::rows::Rows;
use crate::sequence;
use crate::served::Served;
use crate::skew::Times;
use crate::stall::Stalls;
use crate::tree::Tree;
use crate::wire::Wires;
use crate::work::Work;

/// Traces, walked. What it says of processes (numbers of entries, open entries, occupancies, busy
/// servers) is told from these traces alone.
pub(crate) struct Walk {
    pub(crate) rows: Rows,
    pub(crate) tree: Tree,
    pub(crate) skew: Vec<i64>,
    pub(crate) times: Times,
    pub(crate) served: Served,
    pub(crate) path: Path,
    pub(crate) meaning: Meaning,
    pub(crate) entries: Entries,
    pub(crate) wires: Wires,
    pub(crate) processes: Processes,
    pub(crate) gaps: Vec<Gap>,
    duplicate_of: Vec<u32>,
    sequences: Vec<u32>,
    work: Work,
}

impl Walk {
    /// Walks; `correct` says what is to be added to each span's times.
    pub(crate) fn over(
        mut rows: Rows,
        correct: impl FnOnce(&Rows, &Tree) -> Vec<i64> + Send,
    ) -> Self {
        let shape = || {
            let tree = Tree::build(&rows);
            let skew = correct(&rows, &tree);
            let times = Times::new(&rows, &skew);
            let served = Served::find(&rows, &tree);
            let path = Path::walk(&rows, &tree, &times, &served);
            (tree, skew, times, served, path)
        };
        let ((tree, skew, times, served, mut path), meaning) = both(shape, || Meaning::read(&rows));
        let entries = Entries::find(&rows, &tree, &served);
        let duplicate_of = duplicates::find(&rows, &tree, &meaning);
        rows.forget_calls();
        process::inherit_threads(&mut rows, &tree);
        let sequences = sequence::number(&tree, &times);
        let measure_work = || {
            let wires = Wires::measure(&rows, &tree, &times, &entries, &path);
            let processes = Processes::group(&rows, &tree, &served);
            let work = Work::measure(&rows, &times, &entries, &path, &wires, &processes);
            (wires, processes, work)
        };
        let find_gaps = || gaps::find(&rows, &tree, &times, &entries, &meaning, &path);
        let ((wires, processes, work), gaps) = both(measure_work, find_gaps);
        path.forget_sections();
        Self {
            rows,
            tree,
            skew,
            times,
            served,
            path,
            meaning,
            entries,
            wires,
            processes,
            gaps,
            duplicate_of,
            sequences,
            work,
        }
    }

    /// Frees what only steps read that look into traces.
    pub(crate) fn forget_times(&mut self) {
        self.times = Times::default();
    }

    pub(crate) fn columns<'a>(&'a self, stalls: &'a Stalls) -> emit::Columns<'a> {
        emit::Columns {
            rows: &self.rows,
            tree: &self.tree,
            skew: &self.skew,
            served: &self.served,
            entries: &self.entries,
            meaning: &self.meaning,
            duplicate_of: &self.duplicate_of,
            sequences: &self.sequences,
            path: &self.path,
            wires: &self.wires,
            processes: &self.processes,
            work: &self.work,
            stalls,
        }
    }
}
