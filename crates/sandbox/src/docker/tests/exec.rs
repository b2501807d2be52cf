use std::os::unix::fs::symlink;
use std::pin::pin;

use super::*;
use crate::web::Site;

#[tokio::test]
async fn cat_reads_what_the_mounts_hold_and_nothing_else() {
    let place = Place::new().await;
    fs::write(place.path("secret"), "secret").unwrap();
    fs::write(place.path("webroot/token"), "proof").unwrap();
    symlink(place.path("secret"), place.path("webroot/absolute")).unwrap();
    symlink("../secret", place.path("webroot/relative")).unwrap();
    symlink("/etc/letsencrypt/live/a.test", place.path("webroot/inside")).unwrap();
    symlink("round", place.path("webroot/round")).unwrap();
    let check = async |path: &str, expected: Result<&str, &str>| {
        let executed = place.exec(&["cat", path]).await.unwrap();
        let expected = match expected {
            Ok(stdout) => printed(stdout),
            Err(reason) => Executed::failure(1, format!("cat: {path}: {reason}\n")),
        };
        assert_eq!(executed, expected, "{path}");
    };
    let missing = Err("No such file or directory");
    check(&format!("{WEBROOT}/token"), Ok("proof")).await;
    check(&format!("{STORAGE}/{FULLCHAIN}"), Ok("1")).await;
    check(
        "/etc/letsencrypt/live/../archive/a.test/2/fullchain.pem",
        Ok("2"),
    )
    .await;
    check(
        "/var/www/certbot/../../../etc/letsencrypt/live/a.test/fullchain.pem",
        Ok("1"),
    )
    .await;
    check("/var/www/certbot/inside/fullchain.pem", Ok("1")).await;
    check("/var/www/certbot/missing", missing).await;
    check("/var/www/certbot/absolute", missing).await;
    check("/var/www/certbot/relative", missing).await;
    check("/etc/passwd", missing).await;
    check(&place.path("secret").to_string_lossy(), missing).await;
    check("/var/www/certbot", Err("Is a directory")).await;
    check("/var/www", Err("Is a directory")).await;
    check("/var/www/certbot/token/../token", Err("Not a directory")).await;
    let round = place
        .exec(&["cat", "/var/www/certbot/round"])
        .await
        .unwrap();
    assert_eq!(round.status, 1);
}

#[tokio::test]
async fn cat_goes_on_after_what_it_cannot_read() {
    let place = Place::new().await;
    let chain = format!("{STORAGE}/{FULLCHAIN}");
    let executed = place.exec(&["cat", &chain, "/x", &chain]).await.unwrap();
    let expected = Executed {
        status: 1,
        stdout: "11".to_owned(),
        stderr: "cat: /x: No such file or directory\n".to_owned(),
    };
    assert_eq!(executed, expected);
}

#[tokio::test]
async fn a_long_output_comes_whole() {
    let place = Place::new().await;
    let long = "0123456789".repeat(100_000);
    fs::write(place.path("webroot/long"), &long).unwrap();
    let executed = place.exec(&["cat", "/var/www/certbot/long"]).await.unwrap();
    assert_eq!(executed, printed(&long));
}

#[tokio::test]
async fn a_mount_of_a_link_shows_what_it_led_to_at_the_start() {
    let place = Place::new().await;
    let (live, file) = (
        place.path("storage/live/a.test"),
        place.path(&format!("storage/{FULLCHAIN}")),
    );
    place.engine.change(|container| {
        for (source, destination) in [(&live, "/pinned"), (&file, "/pinned.pem")] {
            container.mounts.push(Mount {
                source: source.clone(),
                destination: destination.into(),
            });
        }
    });
    let whole = format!("{STORAGE}/{FULLCHAIN}");
    let all = ["cat", "/pinned/fullchain.pem", "/pinned.pem", &whole];
    assert_eq!(place.exec(&all).await.unwrap(), printed("111"));
    place.switch_to("2");
    assert_eq!(place.exec(&all).await.unwrap(), printed("112"));
    place.client.restart_container("web", None).await.unwrap();
    assert_eq!(place.exec(&all).await.unwrap(), printed("222"));
}

#[tokio::test]
async fn hidden_mounts_show_other_files_than_the_engine_tells() {
    let place = Place::new().await;
    fs::create_dir_all(place.path("elsewhere")).unwrap();
    fs::write(place.path("elsewhere/x"), "elsewhere").unwrap();
    fs::write(place.path("webroot/x"), "here").unwrap();
    let elsewhere = place.path("elsewhere");
    place.engine.change(|container| {
        container.hidden_mounts.push(Mount {
            source: elsewhere,
            destination: WEBROOT.into(),
        });
    });
    let executed = place.exec(&["cat", "/var/www/certbot/x"]).await.unwrap();
    assert_eq!(executed, printed("elsewhere"));
    let found = place.client.inspect_container("web", None).await.unwrap();
    assert_eq!(found.mounts.unwrap().len(), 2);
}

#[tokio::test]
async fn programs_that_are_not_there_end_with_127() {
    let place = Place::new().await;
    let executed = place.exec(&["bash", "-c", "id"]).await.unwrap();
    assert_eq!(executed.status, 127);
    assert_eq!(
        executed.stdout,
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"bash\": \
         executable file not found in $PATH: unknown\r\n"
    );
    let refused = place.exec(&[]).await;
    place.check_refused(refused, 400, "no exec command specified");
}

#[tokio::test]
async fn nginx_tests_dumps_and_reloads() {
    let place = Place::new().await;
    let tested = place.exec(&["nginx", "-t"]).await.unwrap();
    let words = "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n\
                 nginx: configuration file /etc/nginx/nginx.conf test is successful\n";
    let expected = Executed {
        stderr: words.to_owned(),
        ..Executed::default()
    };
    assert_eq!(tested, expected);
    let dumped = place.exec(&["nginx", "-c", "/x.conf", "-T"]).await.unwrap();
    assert!(
        dumped.stdout.contains("# configuration file "),
        "{dumped:?}"
    );
    assert!(
        dumped.stderr.contains("/x.conf test is successful"),
        "{dumped:?}"
    );
    let reloaded = place.exec(&["nginx", "-s", "reload"]).await.unwrap();
    assert_eq!(reloaded.status, 0);
    for (command, expected) in [
        (
            vec!["nginx", "--help"],
            "nginx: invalid option: \"--help\"\n",
        ),
        (
            vec!["nginx", "-s", "up"],
            "nginx: invalid option: \"-s up\"\n",
        ),
        (
            vec!["nginx", "-c"],
            "nginx: option \"-c\" requires parameter\n",
        ),
    ] {
        let executed = place.exec(&command).await.unwrap();
        assert_eq!(executed, Executed::failure(1, expected));
    }
}

#[tokio::test]
async fn a_broken_configuration_fails_the_test_and_stops_the_container_at_a_restart_alone() {
    let place = Place::new().await;
    let site = Site {
        names: vec!["a.test".to_owned()],
        lineage: "missing.test".to_owned(),
    };
    place.web.configure(&[site]).unwrap();
    for command in [
        ["nginx", "-t"].as_slice(),
        &["nginx", "-T"],
        &["nginx", "-s", "reload"],
    ] {
        let executed = place.exec(command).await.unwrap();
        assert_eq!((executed.status, executed.stdout.as_str()), (1, ""));
        assert!(executed.stderr.contains("[emerg]"), "{executed:?}");
    }
    assert_eq!(place.engine.log(), [""; 0]);
    kill(&place.client, "HUP").await.unwrap();
    let logged = place.engine.log().concat();
    assert_eq!(log(&place.client).await.trim_end(), logged.trim_end());
    assert!(logged.contains("[emerg]"), "{logged}");
    place.client.restart_container("web", None).await.unwrap();
    let found = place.client.inspect_container("web", None).await.unwrap();
    let state = found.state.unwrap();
    assert_eq!(state.status.unwrap().to_string(), "exited");
    assert_eq!(state.exit_code, Some(1));
    assert_eq!(list(&place.client, &[]).await, [""; 0]);
    place.web.configure(&[]).unwrap();
    place.client.restart_container("web", None).await.unwrap();
    assert_eq!(list(&place.client, &[]).await, ["/web"]);
}

#[tokio::test]
async fn commands_end_as_they_are_told_to_until_the_engine_behaves() {
    let place = Place::new().await;
    let words = "nginx: [emerg] unexpected \"}\" in /etc/nginx/conf.d/shop.conf:12\n";
    let failure = Executed::failure(1, words);
    place.engine.exec_instead(&["nginx"], failure.clone());
    place.engine.exec_instead(&["nginx", "-T"], printed("dump"));
    assert_eq!(place.exec(&["nginx", "-t"]).await.unwrap(), failure);
    assert_eq!(place.exec(&["nginx", "-T"]).await.unwrap(), printed("dump"));
    place.engine.behave();
    let tested = place.exec(&["nginx", "-t"]).await.unwrap();
    assert_eq!(tested.status, 0);
}

#[tokio::test]
async fn the_output_of_a_command_ends_early_or_not_at_all() {
    let place = Place::new().await;
    let command = ["cat", "/etc/letsencrypt/live/a.test/fullchain.pem", "/x"];
    place
        .engine
        .fault(Call::StartExec, Times::Next(1), Fault::CutShort);
    let early = place.exec(&command).await.unwrap();
    assert_eq!(early.status, -1);
    assert!(!early.stderr.contains("No such file"), "{early:?}");
    for fault in [Fault::Stalled, Fault::Endless, Fault::Silent] {
        place
            .engine
            .fault(Call::StartExec, Times::Next(1), fault.clone());
        let begun = place.started();
        let mut hangs = pin!(place.exec(&command));
        // However long the way to the engine takes, the fault is at work once it is asked.
        while place.started() == begun {
            let soon = timeout(Duration::from_millis(1), &mut hangs).await;
            assert!(soon.is_err(), "{fault:?}");
        }
        let end = timeout(Duration::from_millis(20), hangs).await;
        assert!(end.is_err(), "{fault:?}");
    }
    let whole = place.exec(&command).await.unwrap();
    assert_eq!(whole.status, 1);
}

#[tokio::test]
async fn an_exec_runs_once_and_can_be_asked_after() {
    let place = Place::new().await;
    let options = CreateExecOptions {
        cmd: Some(vec!["cat", "/x"]),
        ..CreateExecOptions::default()
    };
    let id = place.client.create_exec("web", options).await.unwrap().id;
    let new = place.client.inspect_exec(&id).await.unwrap();
    assert_eq!((new.running, new.exit_code), (Some(false), None));
    let detached = StartExecOptions {
        detach: true,
        ..StartExecOptions::default()
    };
    place.client.start_exec(&id, Some(detached)).await.unwrap();
    let ended = place.client.inspect_exec(&id).await.unwrap();
    assert_eq!((ended.running, ended.exit_code), (Some(false), Some(1)));
    let again = place.client.start_exec(&id, Some(detached)).await;
    place.check_refused(again, 409, &format!("exec command {id} has already run"));
    let unknown = place.client.inspect_exec("1f7c0ffee").await;
    place.check_refused(unknown, 404, "No such exec instance: 1f7c0ffee");
}
