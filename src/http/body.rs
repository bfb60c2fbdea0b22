//! The body of a response behind a layer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::BoxFuture;
use super::hold::Ending;

pin_project! {
    /// The service's body, or the layer's own where the request was not served.
    ///
    /// Behind a [`BudgetLayer`](super::BudgetLayer) it settles the hold of the request when it ends: before its last frame goes
    /// out, where that is known to be the last, so that a client that has read all finds its budget settled. Dropped before,
    /// it settles in the background.
    pub struct ResponseBody<B>
    where
        B: Body,
    {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B>
    where
        B: Body,
    {
        Whole { bytes: Option<Bytes> },
        // `body` before `stage`: what it observes when it is dropped is settled.
        Served { #[pin] body: B, stage: Stage<B::Data, B::Error> },
    }
}

enum Stage<D, E> {
    /// The hold is open, and so is the body.
    Open(Ending),
    /// The hold is being settled. The last of the body comes after that.
    Settling(BoxFuture<()>, Option<Result<Frame<D>, E>>),
    /// There is nothing to settle any more.
    Done,
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole { bytes: Some(bytes) } }
    }

    pub(super) fn passing(body: B) -> Self {
        Self { kind: Kind::Served { body, stage: Stage::Done } }
    }

    pub(super) fn settling(body: B, ending: Ending) -> Self {
        Self { kind: Kind::Served { body, stage: Stage::Open(ending) } }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let (mut body, stage) = match self.project().kind.project() {
            KindProjection::Whole { bytes } => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            KindProjection::Served { body, stage } => (body, stage),
        };
        if !matches!(stage, Stage::Settling(..)) {
            let frame = ready!(body.as_mut().poll_frame(cx));
            let is_last = body.is_end_stream() || !matches!(frame, Some(Ok(_)));
            match std::mem::replace(stage, Stage::Done) {
                Stage::Open(ending) if is_last => *stage = Stage::Settling(Box::pin(ending.end()), frame),
                same => {
                    *stage = same;
                    return Poll::Ready(frame);
                }
            }
        }
        let Stage::Settling(settling, last) = stage else { return Poll::Ready(None) };
        ready!(settling.as_mut().poll(cx));
        let last = last.take();
        *stage = Stage::Done;
        Poll::Ready(last)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole { bytes } => bytes.is_none(),
            Kind::Served { body, stage } => matches!(stage, Stage::Done) && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = |bytes: &Bytes| SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match &self.kind {
            Kind::Whole { bytes } => bytes.as_ref().map_or(SizeHint::with_exact(0), exact),
            Kind::Served { body, .. } => body.size_hint(),
        }
    }
}
