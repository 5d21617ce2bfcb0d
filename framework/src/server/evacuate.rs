//! The evacuation of a running server: its begin, its progress and its end.

use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, ControlSignal, Kind};
use crate::drain::Phase;
use crate::server::evacuation::{
    Candidates, Evacuation, EvacuationError, EvacuationPlan, EvacuationReport, EvacuationTask,
};
use crate::server::listener::ListenerHandle;
use crate::server::running::Running;
use crate::settings::Networks;

impl Running {
    /// Begins to close a share of the open connections, and returns. The evacuation continues in the background.
    ///
    /// Only connections that are open now can be chosen. Those that are idle for longest close first, with reason
    /// [`Drain`](crate::CloseReason::Drain), as in a [drain](Self::drain). The listeners continue to accept: send new
    /// clients to other servers, or the same clients come back. The times of the closes have a random part, so that
    /// clients do not connect again in step.
    ///
    /// A connection with a message or reply in progress closes when it has finished. It is never aborted. After the
    /// last signal, the evacuation waits for such connections for at most the deadline of a drain, and then reports
    /// those that [remain](EvacuationReport::remaining). A drain ends the evacuation. Datagram peers are not concerned:
    /// they have no connection.
    ///
    /// This visits every open connection. With many of them it takes milliseconds: call it through
    /// `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    ///
    /// The share or the rate is out of range, the listener is unknown or receives datagrams, another evacuation is in
    /// progress, or the server is draining. Nothing has changed.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// use switchboard::server::Evacuation;
    /// use switchboard::settings::Rate;
    /// use switchboard::transport::memory;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let running = Server::bind("mem:evacuation").start(echo).await?;
    /// let mut clients = Vec::new();
    /// for _ in 0..10 {
    ///     clients.push(memory::connect("evacuation").await?);
    /// }
    /// # while running.open() < 10 { tokio::task::yield_now().await }
    /// running.evacuate(Evacuation::new(0.3, Rate::per_second(100)))?;
    /// let report = running.evacuated().await.expect("there was an evacuation");
    /// assert_eq!((report.chosen, report.closed, report.remaining()), (3, 3, 0));
    /// assert_eq!(running.open(), 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn evacuate(&self, evacuation: Evacuation) -> Result<EvacuationReport, EvacuationError> {
        let (plan, listeners, connections) = self.candidates(&evacuation)?;
        let mut cancel = self.evacuations.cancel.lock(); // one caller at a time
        if let Some(report) = self.evacuation().filter(EvacuationReport::is_in_progress) {
            return Err(EvacuationError::InProgress(Box::new(report)));
        }
        if self.is_stopping() {
            return Err(EvacuationError::Draining);
        }
        *cancel = CancellationToken::new();
        let id = self.evacuation().map_or(0, |report| report.id) + 1;
        let report = EvacuationReport::new(id, evacuation, plan);
        self.evacuations.last.send_replace(Some(report.clone()));
        let task = EvacuationTask {
            report: report.clone(),
            reports: self.evacuations.last.clone(),
            candidates: Candidates::new(connections),
            listeners,
            cancel: cancel.clone(),
            draining: self.draining.subscribe(),
            finish_timeout: self.drain_settings().deadline,
        };
        tokio::spawn(task.run());
        Ok(report)
    }

    /// What [`evacuate`](Self::evacuate) would do now.
    ///
    /// # Errors
    ///
    /// The share or the rate is out of range, or the listener is unknown or receives datagrams.
    pub fn plan_evacuation(&self, evacuation: &Evacuation) -> Result<EvacuationPlan, EvacuationError> {
        self.candidates(evacuation).map(|(plan, ..)| plan)
    }

    /// The evacuation in progress, or the last one.
    pub fn evacuation(&self) -> Option<EvacuationReport> {
        self.evacuations.last.borrow().clone()
    }

    /// Waits until no evacuation is in progress, and returns the result of the last one.
    pub async fn evacuated(&self) -> Option<EvacuationReport> {
        let mut last = self.evacuations.last.subscribe();
        // The sender lives as long as `self`.
        let ended = last.wait_for(|report| !report.as_ref().is_some_and(EvacuationReport::is_in_progress)).await;
        ended.ok().and_then(|report| report.clone())
    }

    /// Ends the evacuation in progress. Connections that it has signalled close, the others stay. Returns whether there
    /// was one.
    pub fn cancel_evacuation(&self) -> bool {
        let cancel = self.evacuations.cancel.lock();
        let is_in_progress = self.evacuation().is_some_and(|report| report.is_in_progress());
        cancel.cancel();
        is_in_progress
    }

    /// The connections that an evacuation can close, with their listeners.
    fn candidates(
        &self,
        evacuation: &Evacuation,
    ) -> Result<(EvacuationPlan, Vec<ListenerHandle>, Vec<Connection>), EvacuationError> {
        evacuation.check()?;
        let mut listeners = self.state().listeners.clone();
        if let Some(name) = &evacuation.listener {
            listeners.retain(|listener| listener.spec.name == *name);
            match listeners.first().map(ListenerHandle::kind) {
                None => return Err(EvacuationError::UnknownListener(name.clone())),
                Some(Kind::Datagram) => return Err(EvacuationError::Datagrams(name.clone())),
                Some(Kind::Stream) => {}
            }
        }
        // The connections of a listener that drains close anyway.
        listeners.retain(|listener| listener.kind() == Kind::Stream && listener.phase() == Phase::Running);
        let source = evacuation.source.map(|network| Networks::from_iter([network]));
        let matches = |connection: &&Connection| {
            let from = |source: &Networks| connection.peer().ip().is_some_and(|ip| source.contains(ip));
            // One that finishes its messages, because of an earlier evacuation, closes anyway.
            connection.current_signal() < ControlSignal::Drain && source.as_ref().is_none_or(from)
        };
        let of = |listener: &ListenerHandle| {
            listener.table().with_open(|open| open.filter(matches).cloned().collect::<Vec<_>>())
        };
        let connections: Vec<Connection> = listeners.iter().flat_map(of).collect();
        Ok((evacuation.plan(connections.len()), listeners, connections))
    }
}
