//! The nginx that serves the domains.

use super::Checker;
use crate::config::engine::EngineAddress;
use crate::config::raw::Table;
use crate::config::{ConfigTest, Nginx, Reload, Selector, defaults};

impl<'t> Checker<'_, 't> {
    /// What a table is silent about comes from the top level, if it has an `[nginx]`
    pub(super) fn nginx(&self, table: Table<'_, 't>, inherited: Option<&Nginx>) -> Option<Nginx> {
        let selector = self.selector(&table);
        let docker = table.string("docker").map(|docker| {
            if EngineAddress::parse(&docker.value).is_none() {
                let message = format!("\"{}\" is no Docker API", docker.value);
                self.mistake(&docker, message, Some(EngineAddress::CURE.to_owned()));
            }
            docker.value
        });
        let reload = self.reload(&table);
        let test = table.boolean("test").map(|test| match test.value {
            true => ConfigTest::Run,
            false => ConfigTest::Skip,
        });
        let test = test
            .or_else(|| inherited.map(|nginx| nginx.test))
            .unwrap_or_default();
        table.finish(&[]);
        Some(Nginx {
            selector: selector?,
            docker: docker
                .or_else(|| inherited.map(|nginx| nginx.docker.clone()))
                .or_else(|| self.environment.docker_host.clone())
                .unwrap_or_else(|| defaults::DOCKER.to_owned()),
            reload: reload
                .or_else(|| {
                    let alike = inherited.filter(|nginx| nginx.test == test);
                    alike.map(|nginx| nginx.reload)
                })
                .unwrap_or(match test {
                    ConfigTest::Run => Reload::Exec,
                    // Where nothing may be run in a container there is nothing but a signal.
                    ConfigTest::Skip => Reload::Signal,
                }),
            test,
        })
    }

    pub(super) fn selector(&self, table: &Table<'_, 't>) -> Option<Selector> {
        let container = table.string("container");
        let label = table.string("label");
        let service = table.string("service");
        let project = table.string("project");
        if let (Some(project), None) = (&project, &service) {
            self.mistake(project, "`service` is missing beside it", None);
        }
        let given = [&container, &label, &service];
        for empty in given.iter().filter_map(|value| value.as_ref()) {
            if empty.value.is_empty() {
                self.mistake(empty, "is empty", None);
            }
        }
        let present = SELECTORS.iter().filter(|key| table.has(key)).count();
        if present != 1 {
            let hint = "for example: container = \"nginx_container\"".to_owned();
            let message = "expected exactly one of `container`, `label` and `service`";
            self.source
                .report(table.span(), table.path(), message, Some(hint));
            return None;
        }
        let selector = container
            .map(|name| Selector::Container(name.value))
            .or_else(|| label.map(|label| Selector::Label(label.value)));
        selector.or_else(|| {
            service.map(|service| Selector::Service {
                service: service.value,
                project: project.map(|project| project.value),
            })
        })
    }

    pub(super) fn reload(&self, table: &Table<'_, 't>) -> Option<Reload> {
        let known = [
            ("signal", Reload::Signal),
            ("exec", Reload::Exec),
            ("restart", Reload::Restart),
        ];
        self.one_of(&table.string("reload")?, &known)
    }
}

const SELECTORS: [&str; 3] = ["container", "label", "service"];
