//! Tests of `layer/timeout.rs`.

use super::*;
use crate::error::BoxError;
use tower::{Layer, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn a_call_over_the_timeout_is_dropped() {
    let service = service_fn(|wait: u64| async move {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        Ok::<_, BoxError>(())
    });
    let service = Timeout::new(Duration::from_secs(2)).layer(service);
    service.clone().oneshot(1).await.unwrap();
    let error = service.oneshot(3).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn zero_disables_the_timeout() {
    let service = service_fn(|()| async {
        tokio::time::sleep(Duration::from_secs(1_000_000)).await;
        Ok::<_, BoxError>(())
    });
    Timeout::new(Duration::ZERO).layer(service).oneshot(()).await.unwrap();
}
