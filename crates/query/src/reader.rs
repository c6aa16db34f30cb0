//! [`Reader`]: runs planned queries over the rows of a database.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryReservation;
use tokio::sync::OnceCell;

use crate::answer::Answer;
use crate::outline::{Outline, Rows, fill, partitioned};
use crate::planner::{PlannedPart, PlannedQuery, Planner};
use crate::session::QueryResult;
use crate::{Database, Error, Limits};

/// The rows of a database for the queries of a planner. Each view is computed once, when a query
/// first reads it.
#[derive(Debug, Clone)]
pub struct Reader {
    planner: Planner,
    tables: Arc<HashMap<Arc<str>, Arc<Rows>>>,
    views: Arc<HashMap<&'static str, View>>,
}

#[derive(Debug)]
struct View {
    query: Arc<PlannedQuery>,
    /// Its rows, or why there are none: what reached a limit would reach it again.
    rows: OnceCell<Result<Arc<Kept>, Error>>,
}

/// Rows that queries read, and the memory that counts for them.
#[derive(Debug)]
struct Kept {
    rows: Arc<Rows>,
    _memory: Option<MemoryReservation>,
}

/// What rows are collected for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// To be returned.
    Answer,
    /// To be read by queries: any number of rows.
    Kept,
}

/// So many rows that queries read are kept as they are, some 20 MiB; those beyond are packed, which
/// takes time to save memory.
const PLAIN_ROWS_MAX: usize = 1 << 16;

/// The tables of one query, by name.
type Tables = HashMap<Arc<str>, Arc<Kept>>;

impl Reader {
    /// Takes the columns of a database that the queries of a planner name.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table of ours is broken.
    pub fn new(planner: Planner, database: &Database) -> Result<Self, Error> {
        let partitions = planner.limits.partitions;
        let project = |outline: &Outline| {
            let projected =
                database.table(&outline.name).iter().map(|batch| outline.project(batch));
            let projected = projected.collect::<Result<Vec<_>, _>>();
            let projected = projected.map_err(|error| Error::Internal(error.to_string()))?;
            Ok((Arc::clone(&outline.name), Arc::new(partitioned(projected, partitions))))
        };
        let tables = planner.tables().map(project).collect::<Result<_, Error>>()?;
        let views = planner.views.iter();
        let views = views
            .map(|(name, query)| (*name, View { query: Arc::clone(query), rows: OnceCell::new() }));
        Ok(Self { tables: Arc::new(tables), views: Arc::new(views.collect()), planner })
    }

    /// Runs a query, to which the rows of its own tables are given.
    ///
    /// # Errors
    ///
    /// [`Error::Memory`], [`Error::Time`], [`Error::Rows`] and [`Error::Execution`] when it, or a
    /// view that it reads, reaches a limit or fails.
    pub async fn query(
        &self,
        query: Arc<PlannedQuery>,
        own: Vec<(&'static str, RecordBatch)>,
    ) -> Result<QueryResult, Error> {
        let partitions = self.planner.limits.partitions;
        let mut tables = Tables::new();
        for (name, batch) in own {
            let rows = Arc::new(partitioned(vec![batch], partitions));
            tables.insert(name.into(), Arc::new(Kept { rows, _memory: None }));
        }
        let answer = self.run(query, tables, Purpose::Answer).await?;
        Ok(QueryResult { schema: answer.schema, batches: answer.batches })
    }

    /// Waits for the views, then for a turn.
    async fn run(
        &self,
        query: Arc<PlannedQuery>,
        mut tables: Tables,
        purpose: Purpose,
    ) -> Result<Answer, Error> {
        for name in query.reads() {
            if let Some((name, view)) = self.views.get_key_value(&**name) {
                tables.insert((*name).into(), self.view(view).await?);
            }
        }
        let reader = self.clone();
        let limits = self.planner.limits;
        let work = async move { reader.run_parts(&query, tables, purpose).await };
        self.planner.threads.run(work, limits.partitions, limits.time_max).await
    }

    async fn view(&self, view: &View) -> Result<Arc<Kept>, Error> {
        let compute = || async {
            let query = Arc::clone(&view.query);
            let run = Box::pin(self.run(query, Tables::new(), Purpose::Kept));
            Ok(Arc::new(self.kept(run.await?)))
        };
        view.rows.get_or_init(compute).await.clone()
    }

    async fn run_parts(
        &self,
        query: &PlannedQuery,
        mut tables: Tables,
        purpose: Purpose,
    ) -> Result<Answer, Error> {
        let (last, before) = query.parts.split_last().expect("a query has a part");
        for part in before {
            let kept = self.kept(self.run_part(part, &tables, Purpose::Kept).await?);
            tables.extend(part.name.clone().map(|name| (name, Arc::new(kept))));
        }
        self.run_part(last, &tables, purpose).await
    }

    async fn run_part(
        &self,
        part: &PlannedPart,
        tables: &Tables,
        purpose: Purpose,
    ) -> Result<Answer, Error> {
        let _turn = part.turn.lock().await;
        let limits = self.planner.limits;
        let (plain_max, limits) = match purpose {
            Purpose::Answer => (usize::MAX, limits),
            Purpose::Kept => (PLAIN_ROWS_MAX, Limits { rows_max: usize::MAX, ..limits }),
        };
        let failed = |error: DataFusionError| Error::of_running(&error, limits.memory_bytes_max);
        let rows = |name: &str| match tables.get(name) {
            Some(kept) => Some(Arc::clone(&kept.rows)),
            None => self.tables.get(name).map(Arc::clone),
        };
        let plan = fill(Arc::clone(&part.plan), rows).map_err(failed)?;
        let read: Vec<Arc<Rows>> = part.reads.iter().filter_map(|name| rows(name)).collect();
        let read = || read.iter().flat_map(|rows| rows.iter().flatten());
        let context = self.planner.state.task_ctx();
        if let (Purpose::Kept, true) = (purpose, limits.may_spill) {
            return Answer::spilled(plan, context, &limits).await;
        }
        let mut answer = Answer::collect(plan, context, read(), plain_max, &limits).await?;
        if let Purpose::Kept = purpose {
            answer.join(read(), &limits)?;
        }
        Ok(answer)
    }

    fn kept(&self, answer: Answer) -> Kept {
        let rows = Arc::new(partitioned(answer.batches, self.planner.limits.partitions));
        Kept { rows, _memory: Some(answer.memory) }
    }
}
