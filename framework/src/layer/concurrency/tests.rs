//! Tests of `layer/concurrency.rs`.

use super::*;
use futures_util::FutureExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tower::Layer;
use tower::{ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn concurrent_calls_stay_within_the_limit_and_all_complete() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (running.clone(), most.clone());
    let service = Concurrency::new(3).layer(service_fn(move |()| {
        let (running, most) = counts.clone();
        async move {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, SeqCst);
            Ok::<_, BoxError>(())
        }
    }));
    let begun = tokio::time::Instant::now();
    futures_util::future::join_all((0..10).map(|_| service.clone().oneshot(()))).await;
    assert_eq!(most.load(SeqCst), 3);
    assert_eq!(begun.elapsed(), Duration::from_secs(4));
}

#[tokio::test]
async fn a_dropped_call_releases_its_permit() {
    let layer = Concurrency::new(1);
    let stuck = layer.layer(service_fn(|()| std::future::pending::<Result<(), BoxError>>()));
    let mut call = Box::pin(stuck.oneshot(()));
    assert!(call.as_mut().now_or_never().is_none());
    drop(call);
    layer.layer(service_fn(|()| async { Ok::<_, BoxError>(()) })).oneshot(()).now_or_never().unwrap().unwrap();
}
