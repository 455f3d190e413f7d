//! `sixgate serve --sandbox`: a gateway with the built-in broker beside it and accounts that are ready to trade.

mod addresses;
mod gateway;
mod text;

use std::path::PathBuf;
use std::time::Duration;

use super::running::Published;
use super::runtime::runtime;
use super::serve_error::ServeError;
use crate::app::App;
use crate::domain::tasks::{Stopped, Tasks};
use crate::telemetry;

use gateway::{Demo, StateFolder};

/// Run it until it is told to stop.
pub(super) fn serve(state: Option<PathBuf>, accounts: u16) -> Result<Stopped, ServeError> {
    let folder = StateFolder::new(state)?;
    runtime()?.block_on(async {
        // Outlives the gateway, whose last requests it answers.
        let broker_tasks = Tasks::default();
        let demo = Demo::start(&folder.path, accounts, &broker_tasks).await?;
        let app = App::build(demo.config.clone(), true).await?;
        let keys = demo.prepare(app.accounts()).await?;
        let published = Published::new(&demo.running(&app));
        telemetry::print(text::explained(&demo, &app, &keys, &folder, published.as_ref().err()));
        let stopped = app.run(None).await;
        broker_tasks.stop(Duration::from_secs(1)).await;
        drop(published);
        Ok(stopped)
    })
}
