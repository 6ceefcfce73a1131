//! The response side of a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::Status;

/// Responses, until the stream's task ends. A status with which it ends comes
/// at once, before a response that the proxy has not fetched yet: after its
/// token is revoked a proxy is sent nothing.
pub(super) struct Outgoing<T> {
    /// Boxed: a channel has room for 32 items at least.
    items: mpsc::Receiver<Box<T>>,
    end: Option<oneshot::Receiver<Status>>,
}

impl<T> Outgoing<T> {
    pub(super) fn new(items: mpsc::Receiver<Box<T>>) -> (oneshot::Sender<Status>, Self) {
        let (sender, end) = oneshot::channel();
        let end = Some(end);
        (sender, Self { items, end })
    }
}

impl<T> Stream for Outgoing<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(end) = &mut self.end
            && let Poll::Ready(end) = Pin::new(end).poll(context)
        {
            self.end = None;
            if let Ok(status) = end {
                self.items.close();
                while self.items.try_recv().is_ok() {}
                return Poll::Ready(Some(Err(status)));
            }
        }
        match self.items.poll_recv(context) {
            // The task lets go of its items a moment before it says why.
            Poll::Ready(None) if self.end.is_some() => Poll::Pending,
            item => item.map(|item| item.map(|item| Ok(*item))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_status_that_comes_after_the_last_item_is_not_lost() {
        let (items, receiver) = mpsc::channel::<Box<u8>>(1);
        let (end, mut outgoing) = Outgoing::new(receiver);
        drop(items);
        let ended = tokio::spawn(async move { outgoing.next().await });
        tokio::task::yield_now().await;
        end.send(Status::unauthenticated("over")).unwrap();
        let status = ended.await.unwrap().unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }

    #[tokio::test]
    async fn a_task_that_has_nothing_to_say_ends_the_stream() {
        let (items, receiver) = mpsc::channel::<Box<u8>>(1);
        let (end, mut outgoing) = Outgoing::new(receiver);
        drop((items, end));
        assert!(outgoing.next().await.is_none());
    }
}
