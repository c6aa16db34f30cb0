//! Requests: which one each span serves, within its process.
//!
//! A SERVER or CONSUMER span is a request, and so is an INTERNAL span that carries what server
//! instrumentations write, unless its process serves another request around it: then it is a
//! sub-application of that one. A test client calls the application in its own process, where the
//! span of the test is current, and the instrumentations of WSGI and ASGI make such a request
//! INTERNAL.
//!
//! A request that a span of its own process made, the test's say, is an *in-process* request. What
//! made it is no part of it: it has a critical path of its own. And a trace in which no request is
//! above several may be that of a test, or of a whole session of tests: for the stall test each of
//! them counts alone, with what other processes did for it.

use crate::rows::{Kind, NONE, Rows};
use crate::tree::Tree;

#[derive(Debug)]
pub(crate) struct Served {
    /// The outermost request of its trace that a span is or lies below, or [`NONE`].
    pub(crate) first: Vec<u32>,
    /// The same of its process.
    by: Vec<u32>,
    is_request: Vec<bool>,
    is_in_process: Vec<bool>,
}

impl Served {
    pub(crate) fn find(rows: &Rows, tree: &Tree) -> Self {
        let mut served = Self {
            first: vec![NONE; rows.len()],
            by: vec![NONE; rows.len()],
            is_request: vec![false; rows.len()],
            is_in_process: vec![false; rows.len()],
        };
        for &at in &tree.top_down {
            let at = at as usize;
            let parent = tree.parent(at).filter(|&p| rows.process[p] == rows.process[at]);
            let above = parent.map_or(NONE, |parent| served.by[parent]);
            let is_outermost = above == NONE && (rows.kind[at].is_request() || rows.is_served[at]);
            served.by[at] = if is_outermost { at as u32 } else { above };
            served.is_request[at] = is_outermost || rows.kind[at].is_request();
            let first = tree.parent(at).map_or(NONE, |parent| served.first[parent]);
            let is_first = first == NONE && served.is_request[at];
            served.first[at] = if is_first { at as u32 } else { first };
            served.is_in_process[at] = is_outermost && parent.is_some();
        }
        served
    }

    /// Whether a span begins the work of its service, called from outside of it or of its code.
    pub(crate) fn is_request(&self, at: usize) -> bool {
        self.is_request[at]
    }

    /// Whether it is a request that a span of its own process made.
    pub(crate) fn is_in_process(&self, at: usize) -> bool {
        self.is_in_process[at]
    }

    /// Returns a span's kind, SERVER for a request that its instrumentation called INTERNAL.
    pub(crate) fn kind(&self, rows: &Rows, at: usize) -> Kind {
        match rows.kind[at] {
            Kind::Internal if self.is_request[at] => Kind::Server,
            kind => kind,
        }
    }
}
