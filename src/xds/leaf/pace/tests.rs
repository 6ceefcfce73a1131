use super::*;

fn pace(rate: u32) -> Arc<Pace> {
    let rate = NonZeroU32::new(rate).unwrap();
    Arc::new(Pace::new(rate, Gauge::default()))
}

/// Lets every task come to where it waits.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn turns_come_in_order_and_evenly() {
    let pace = pace(4);
    let start = Instant::now();
    let (out, mut turns) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..8 {
        let (pace, out) = (pace.clone(), out.clone());
        tokio::spawn(async move {
            pace.turn().await;
            out.send((number, start.elapsed())).unwrap();
        });
    }
    settle().await;
    assert_eq!(pace.waiting.get(), 7, "the first does not wait");
    for number in 0..8 {
        let (who, when) = turns.recv().await.unwrap();
        let due = Duration::from_millis(250) * number;
        assert_eq!(who, number);
        assert!(when >= due && when < due + LAG, "{who} at {when:?}");
    }
    assert_eq!(pace.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_its_turn_to_the_next() {
    let pace = pace(1);
    let start = Instant::now();
    pace.clone().turn().await;
    let two = tokio::spawn(pace.clone().turn());
    let three = tokio::spawn(pace.clone().turn());
    let four = tokio::spawn(pace.clone().turn());
    settle().await;
    assert_eq!(pace.waiting.get(), 3);
    // One that has the next turn, and one in the queue.
    two.abort();
    three.abort();
    four.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
    assert_eq!(pace.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_saves_up_no_turns() {
    let pace = pace(10);
    pace.clone().turn().await;
    tokio::time::advance(Duration::from_mins(1)).await;
    let start = Instant::now();
    for _ in 0..11 {
        pace.clone().turn().await;
    }
    assert!(start.elapsed() + 2 * LAG > Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_high_pace_is_kept_though_timers_are_coarse() {
    let pace = pace(5000);
    let start = Instant::now();
    for _ in 0..10_000 {
        pace.clone().turn().await;
    }
    let took = start.elapsed();
    let expected = Duration::from_secs(2);
    assert!(took + 2 * LAG > expected, "{took:?}");
    assert!(took < expected + 2 * LAG, "{took:?}");
}
