//! Reload: changes the listeners and certificates of a running server.
//!
//! The first part can fail: it starts new handlers, loads certificates and binds sockets, and an error changes nothing.
//! The second part cannot fail: it replaces settings and stops removed listeners.

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::deadline_timer::{timeout, timeout_at};
use crate::server::changes::{Changes, ReloadError};
use crate::server::listener::ListenerHandle;
use crate::server::listener_set::ListenerSet;
use crate::server::reload_plan::{ReloadPlan, matches};
use crate::server::running::{BACKLOG_TIMEOUT, Running};
use crate::settings::{TlsSettings, deadline_after};
use crate::transport::tls::TlsAcceptor;

impl Running {
    /// Applies a new set of listeners to the running server.
    ///
    /// A listener with the same name and address never stops accepting; new connections use the new settings and
    /// handler, open connections keep the old ones. Other listeners of the set are started. Listeners that are not in
    /// the set are drained. All certificates are loaded again.
    ///
    /// A handler instance that does not run yet is started first. An instance that is not in the set is stopped when
    /// its last connection has closed.
    ///
    /// The settings of the [bans](ListenerSet::bans) change, except the file; bans in effect stay.
    ///
    /// A listener keeps the state of its layers if its handler instance, framing, layers and the settings of its
    /// connections are the same. It keeps its socket if its name, TLS or PROXY settings change, provided that its
    /// transport [shares](crate::transport::StreamListener::share) sockets. A reload cannot change the transports.
    ///
    /// # Errors
    ///
    /// The reload is rejected and nothing has changed. The error is that of the first handler that cannot be started,
    /// or contains the problems of all listeners. Handlers that the reload has started are stopped.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// use switchboard::registry::HandlerInstance;
    /// use switchboard::server::ListenerSpec;
    /// use switchboard::transport::Transports;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let echo = HandlerInstance::new(echo);
    ///
    /// let mut listeners = ListenerSet::new(Transports::default());
    /// listeners.listen(ListenerSpec::new("main", "mem:reload-one".parse()?), &echo);
    /// let running = listeners.start().await?;
    ///
    /// let mut listeners = ListenerSet::new(Transports::default());
    /// let mut main = ListenerSpec::new("main", "mem:reload-one".parse()?);
    /// main.limits.connections = 10;
    /// listeners.listen(main, &echo);
    /// listeners.listen(ListenerSpec::new("more", "mem:reload-two".parse()?), &echo);
    /// let changes = running.reload(listeners).await?;
    /// assert_eq!((changes.started, changes.changed), (vec!["more".to_owned()], vec!["main".to_owned()]));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reload(&self, listeners: ListenerSet) -> Result<Changes, ReloadError> {
        let reloading = self.reloading.lock().await;
        let ListenerSet { drain, plan, inherited, prepare_timeout, bans, .. } = listeners;
        let (listeners, stopping) = {
            let state = self.state();
            (state.listeners.clone(), state.stopping.clone())
        };
        let stays =
            |listener: &ListenerHandle| !listener.is_over() && plan.iter().any(|(spec, _)| matches(listener, spec));
        let leaving: Vec<ListenerHandle> =
            listeners.iter().filter(|listener| !stays(listener)).chain(&stopping).cloned().collect();
        let (transports, taken, bound) = (&self.transports, Vec::new(), Vec::new());
        let mut preparing = ReloadPlan { transports, listeners: &listeners, inherited, leaving, taken, bound };
        let latest = deadline_after(Instant::now(), prepare_timeout);
        let prepared = async {
            let users = self.handlers.start(&plan, prepare_timeout).await;
            let users = users.map_err(|error| ReloadError::Start(vec![error]))?;
            let steps = timeout_at(latest, preparing.prepare(plan)).await.map_err(|_| ReloadError::Late)??;
            Ok((steps, users))
        };
        let (steps, _users) = tokio::select! {
            biased;
            () = self.stopping() => return Err(ReloadError::Draining),
            prepared = prepared => prepared?,
        };
        // Nothing below can fail or wait.
        let ReloadPlan { taken, .. } = preparing;
        let mut changes = Changes::default();
        self.bans.configure(bans.settings());
        let steps = steps.into_iter();
        let now: Vec<ListenerHandle> = steps.map(|step| step.apply(&mut changes, drain.deadline, &self.bans)).collect();
        let removed: Vec<ListenerHandle> =
            listeners.into_iter().filter(|listener| !now.iter().any(|now| now.is(listener))).collect();
        self.handlers.use_fleet_of(now.iter().map(|listener| &*listener.spec));
        {
            let mut state = self.state();
            (state.listeners, state.drain) = (now, drain);
            state.stopping.extend(removed.iter().cloned());
        }
        self.handlers.apply(drain);
        taken.iter().for_each(ListenerHandle::retire);
        for listener in &removed {
            changes.stopped.push(listener.spec.name.clone());
            self.stop(listener.clone(), drain.deadline);
        }
        drop(reloading);
        // The caller can bind the addresses of removed listeners afterwards.
        let _ = timeout(BACKLOG_TIMEOUT, join_all(removed.iter().map(ListenerHandle::closed))).await;
        Ok(changes)
    }

    /// Loads certificates for these listeners and uses them for new handshakes. See
    /// [`TlsAcceptor::reload`](crate::transport::tls::TlsAcceptor::reload) for the effect on open connections and
    /// sessions.
    ///
    /// This reads files and can block: call it through `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    ///
    /// A listener is unknown or has no TLS, or a file cannot be used. No certificate has changed.
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
        let mut replacements = Vec::new();
        for (name, settings) in settings {
            let found = listeners.iter().find(|listener| listener.spec.name == name);
            let listener = found.ok_or_else(|| ReloadError::Unknown(name.to_owned()))?;
            if listener.tls.is_none() {
                return Err(ReloadError::Plain(name.to_owned()));
            }
            let loaded = TlsAcceptor::load(settings).map_err(|error| ReloadError::Tls(name.to_owned(), error))?;
            replacements.push((listener, loaded));
        }
        replacements.iter().for_each(|(listener, loaded)| listener.replace_certificates(loaded));
        Ok(())
    }
}
