//! Several streams in one order, holding no more than one item of each.

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{BoxStream, unfold};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// All items by their times, the first of them when every stream has one or has ended. Items of one stream stay in
/// their order, whatever their times say; of equal times, those of the earlier stream come first. Items without a time,
/// which are errors, come last.
pub fn by_time<T: Send + 'static>(
    streams: Vec<BoxStream<'static, T>>,
    time: fn(&T) -> Option<i64>,
) -> BoxStream<'static, T> {
    unfold(Merge::Unread(streams, time), next).boxed()
}

enum Merge<T> {
    Unread(Vec<BoxStream<'static, T>>, fn(&T) -> Option<i64>),
    Heads(Heads<T>),
}

struct Heads<T> {
    streams: Vec<BoxStream<'static, T>>,
    /// The next item of each stream that has one.
    items: Vec<Option<T>>,
    /// Their times, and whose they are.
    order: BinaryHeap<Reverse<(i64, usize)>>,
    /// The stream whose item was given last.
    taken: Option<usize>,
    time: fn(&T) -> Option<i64>,
}

impl<T> Heads<T> {
    fn put(&mut self, stream: usize, item: Option<T>) {
        if let Some(item) = &item {
            self.order.push(Reverse(((self.time)(item).unwrap_or(i64::MAX), stream)));
        }
        self.items[stream] = item;
    }
}

async fn next<T>(merge: Merge<T>) -> Option<(T, Merge<T>)> {
    let mut heads = match merge {
        Merge::Unread(mut streams, time) => {
            let first = join_all(streams.iter_mut().map(StreamExt::next)).await;
            let items = streams.iter().map(|_| None).collect();
            let mut heads = Heads { streams, items, order: BinaryHeap::new(), taken: None, time };
            first.into_iter().enumerate().for_each(|(stream, item)| heads.put(stream, item));
            heads
        }
        Merge::Heads(heads) => heads,
    };
    if let Some(stream) = heads.taken.take() {
        let item = heads.streams[stream].next().await;
        heads.put(stream, item);
    }
    let Reverse((_, stream)) = heads.order.pop()?;
    heads.taken = Some(stream);
    Some((heads.items[stream].take()?, Merge::Heads(heads)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::{iter, once};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Item = Result<(i64, &'static str), &'static str>;

    fn time(item: &Item) -> Option<i64> {
        item.as_ref().ok().map(|(time, _)| *time)
    }

    #[tokio::test]
    async fn items_come_by_time_and_those_of_one_stream_in_their_order() {
        let streams = vec![
            iter(vec![Ok((1, "a1")), Ok((5, "a2")), Ok((3, "a3: its clock was set back")), Ok((9, "a4"))]).boxed(),
            once(async { Err("node b is away") }).boxed(),
            iter(Vec::<Item>::new()).boxed(),
            iter(vec![Ok((2, "d1")), Ok((5, "d2")), Ok((6, "d3"))]).boxed(),
        ];
        let items: Vec<&str> =
            by_time(streams, time).map(|item| item.map_or_else(|error| error, |(_, name)| name)).collect().await;
        assert_eq!(items, ["a1", "d1", "a2", "a3: its clock was set back", "d2", "d3", "a4", "node b is away"]);
    }

    #[tokio::test]
    async fn a_reader_that_stops_holds_one_item_of_each_stream() {
        let read = Arc::new(AtomicUsize::new(0));
        let streams = (0..3).map(|_| {
            let read = read.clone();
            let count = move |time| {
                read.fetch_add(1, Ordering::Relaxed);
                Ok((time, ""))
            };
            iter(0..).map(count).boxed()
        });
        let mut merged = by_time(streams.collect(), time);
        for given in 0..30 {
            merged.next().await.expect("endless").expect("an item");
            assert_eq!(read.load(Ordering::Relaxed), given + 3);
        }
    }
}
