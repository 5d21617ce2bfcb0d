//! What changes in a server that runs: its listeners by difference, their certificates.
//!
//! First everything that can fail: certificates are read, sockets are bound. Then what cannot: settings are swapped, doors move,
//! and what is not wanted any more stops. An error before that leaves everything as it was.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::server::listener::ListenerHandle;
use crate::server::listener_set::ListenerSet;
use crate::server::reload_plan::{ReloadPlan, stays_at};
use crate::server::running::{BACKLOG_TIMEOUT, Running};
use crate::server::spec::StartError;
use crate::settings::TlsSettings;
use crate::transport::tls::{self, TlsError};

/// How long names may be looked up and files be read before a reload gives up.
const PREPARE: Duration = Duration::from_secs(30);

/// A change that was not made. Everything is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// No listener has this name.
    #[error("there is no listener {0}")]
    Unknown(String),
    /// This listener was started without TLS, which is not something that it learns later.
    #[error("listener {0} has no TLS")]
    Plain(String),
    /// The files for this listener cannot be used.
    #[error("listener {0}: {1}")]
    Tls(String, #[source] TlsError),
    /// These listeners cannot be started, or not changed.
    #[error("{}", sentences(.0))]
    Start(Vec<StartError>),
    /// Names were not found, or files not read, for a long time.
    #[error("not ready within {PREPARE:?}")]
    Late,
    /// The server is on its way to a stop.
    #[error("the server is draining")]
    Draining,
}

fn sentences(errors: &[StartError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a reload came to: the names of listeners.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Changes {
    /// Those that listen now and did not before, there.
    pub started: Vec<String>,
    /// Those that go by other settings, or serve by something else.
    pub changed: Vec<String>,
    /// Those that listen no more. Their connections finish what is under way, as in a drain.
    pub stopped: Vec<String>,
}

impl Running {
    /// Makes what runs the same as a plan, by difference. Listeners of the same name at the same address never stop accepting:
    /// whoever comes from now on is served by the plan's pipeline under the plan's settings, whoever is there stays as he is.
    /// Others are started; those that the plan does not have stop as in a drain, in the time that it gives to one. Certificates are
    /// read again everywhere. After an error nothing has changed; all errors are told.
    ///
    /// A listener that changes its name keeps its socket too, as does one that gets TLS or a proxy in front, with every transport
    /// that [shares](crate::transport::StreamListener::share) its sockets.
    ///
    /// What a reload cannot change: the transports.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// use switchboard::registry::Setup;
    /// use switchboard::server::ListenerSpec;
    /// use switchboard::transport::Transports;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let mut registry = Registry::new();
    /// registry.handler("echo", |_: NoOptions| {
    ///     Ok(handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) }))
    /// });
    /// let echo = registry.handler_entry("echo").unwrap().build(serde_json::json!({}))?;
    ///
    /// let mut board = ListenerSet::new(Transports::default());
    /// board.listen(ListenerSpec::new("main", "mem:reload-one".parse()?), echo.pipeline(Setup::new()));
    /// let running = board.start().await?;
    ///
    /// let mut board = ListenerSet::new(Transports::default());
    /// let mut main = ListenerSpec::new("main", "mem:reload-one".parse()?);
    /// main.limits.connections = 10;
    /// board.keep(main);
    /// board.listen(ListenerSpec::new("more", "mem:reload-two".parse()?), echo.pipeline(Setup::new()));
    /// let changes = running.reload(board).await?;
    /// assert_eq!((changes.started, changes.changed), (vec!["more".to_owned()], vec!["main".to_owned()]));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reload(&self, board: ListenerSet) -> Result<Changes, ReloadError> {
        let one_at_a_time = self.reloading.lock().await;
        let ListenerSet { drain, plan, inherited, .. } = board;
        let (listeners, stopping) = {
            let state = self.state();
            (state.listeners.clone(), state.stopping.clone())
        };
        let stays =
            |listener: &ListenerHandle| !listener.is_over() && plan.iter().any(|(spec, _)| stays_at(listener, spec));
        let going: Vec<ListenerHandle> =
            listeners.iter().filter(|listener| !stays(listener)).chain(&stopping).cloned().collect();
        let mut draining = self.draining.subscribe();
        let mut preparing =
            ReloadPlan { transports: &self.transports, listeners: &listeners, inherited, going, taken: Vec::new() };
        let steps = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => return Err(ReloadError::Draining),
            steps = timeout(PREPARE, preparing.all(plan)) => steps.map_err(|_| ReloadError::Late)??,
        };
        // From here on nothing fails, and nothing waits.
        let ReloadPlan { taken, .. } = preparing;
        let mut changes = Changes::default();
        let now: Vec<ListenerHandle> = steps.into_iter().map(|step| step.take(&mut changes, drain.deadline)).collect();
        let gone: Vec<ListenerHandle> =
            listeners.into_iter().filter(|listener| !now.iter().any(|now| now.is(listener))).collect();
        {
            let mut state = self.state();
            (state.listeners, state.drain) = (now, drain);
            state.stopping.extend(gone.iter().cloned());
        }
        taken.iter().for_each(ListenerHandle::retire);
        for listener in &gone {
            changes.stopped.push(listener.spec.name.clone());
            self.stop(listener.clone(), drain.deadline);
        }
        drop(one_at_a_time);
        // Whoever reloads may rely on it that those places are free.
        let _ = timeout(BACKLOG_TIMEOUT, join_all(gone.iter().map(ListenerHandle::closed))).await;
        Ok(changes)
    }

    /// Reads the certificates of these listeners again, or other ones, and uses them for every handshake that begins from now
    /// on: all of them, or after an error none. Nothing else is disturbed; see
    /// [`tls::Server::reload`](crate::transport::tls::Server::reload) for what becomes of connections and sessions.
    ///
    /// It reads files: in a task call it through `tokio::task::spawn_blocking`.
    ///
    /// ```no_run
    /// # use switchboard::{TlsSettings, server::{ReloadError, Running}};
    /// fn renewed(running: &Running) -> Result<(), ReloadError> {
    ///     running.reload_tls([("main", &TlsSettings::new("new.pem", "new.key"))])
    /// }
    /// ```
    pub fn reload_tls<'a>(
        &self,
        settings: impl IntoIterator<Item = (&'a str, &'a TlsSettings)>,
    ) -> Result<(), ReloadError> {
        let listeners = self.state().listeners.clone();
        let mut fresh = Vec::new();
        for (name, settings) in settings {
            let found = listeners.iter().find(|listener| listener.spec.name == name);
            let listener = found.ok_or_else(|| ReloadError::Unknown(name.to_owned()))?;
            let server = listener.tls.as_ref().ok_or_else(|| ReloadError::Plain(name.to_owned()))?;
            let loaded = tls::Server::load(settings).map_err(|error| ReloadError::Tls(name.to_owned(), error))?;
            fresh.push((server, loaded));
        }
        fresh.iter().for_each(|(server, loaded)| server.adopt(loaded));
        Ok(())
    }
}
