//! An id that the memory does not know while the memory is not whole: the broker is asked first.

use http::Response;

use super::Order;
use crate::orders::memory::{Claim, Write};
use crate::proxy::forward::Trace;
use crate::proxy::reply::{Body, Problem};

impl Order<'_> {
    pub(super) fn must_ask_first(&self) -> bool {
        false
    }

    pub(super) async fn ask_first(
        mut self,
        claim: Claim,
        write: &Write,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Problem> {
        self.first(claim, write, trace).await
    }
}
