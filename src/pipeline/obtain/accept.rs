//! From what the CA sent to a generation in the archive.

use super::failed::fail_spent;
use super::fit;
use super::order::FromCa;
use super::resume::on_disk;
use super::stock::goal;
use super::{certificate_in_words, ready, resume};
use crate::acme::Session;
use crate::chain::Fingerprint;
use crate::install;
use crate::pipeline::{Context, Mode, Options, Work};
use crate::report::{Outcome, Stage};
use crate::store::lineage::{Generation, Issued, LineageError};
use crate::store::record::GenerationRecord;

/// Looks at what the CA sent and puts it into the archive
pub(super) async fn accept(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
    from_ca: FromCa,
) {
    let begun = work.begin(Stage::Install);
    let inspected = install::inspect(
        &from_ca.chain_pem,
        &from_ca.key.key_pem,
        &work.names,
        context.now(),
    );
    let judged = inspected.and_then(|chain| {
        let candidate = fit::Candidate {
            chain: &chain,
            number: None,
            issuer: Some(session.issuer()),
        };
        let told = fit::judge(context, &work.lineage, goal(options, work), candidate)?;
        work.findings.extend(told);
        Ok(chain)
    });
    let chain = match judged {
        Ok(chain) => chain,
        Err(unfit) => {
            resume::forget(context, options, work);
            return fail_spent(context, work, Stage::Install, begun, &unfit);
        }
    };
    let words = certificate_in_words(chain.leaf(), context.now());
    if options.mode == Mode::Rehearse {
        work.done(Stage::Install, begun, format!("{words}; dropped"));
        let summary = format!(
            "{} issued a certificate, nothing was installed",
            session.issuer()
        );
        return work.end(Outcome::Rehearsed, summary);
    }
    let fingerprint = chain.leaf().fingerprint;
    let stored = archive(context, options, session, work, from_ca, fingerprint).await;
    match stored {
        Ok(generation) => {
            let generation = Generation {
                number: generation,
                chain,
                damaged: Vec::new(),
            };
            work.done(
                Stage::Install,
                begun,
                format!("generation {}, {words}", generation.number),
            );
            work.ready = Some(ready(context, &work.lineage, generation));
        }
        Err(error) => fail_spent(context, work, Stage::Install, begun, &error),
    }
}

/// Writes the generation, and enters it into the record, which is kept at the end of the run
///
/// Until then the order on record and its key tell of the generation ([`resume::settle`]).
async fn archive(
    context: &Context<'_>,
    options: &Options,
    session: &Session,
    work: &mut Work<'_>,
    from_ca: FromCa,
    fingerprint: Fingerprint,
) -> Result<u32, LineageError> {
    let issued = Issued {
        chain_pem: from_ca.chain_pem,
        key_pem: from_ca.key.key_pem,
    };
    let lineage = work.lineage.clone();
    let number = on_disk(context, move |store| {
        store.add_generation(&lineage, &issued)
    });
    let number = number.await?;
    let record = GenerationRecord {
        issuer: Some(session.issuer().to_owned()),
        account: Some(from_ca.account_url),
        profile: work.domain.profile.clone(),
        issued_at: context.now(),
        proven_at: None,
        fingerprint: Some(fingerprint.to_string()),
        renewal: None,
    };
    let chosen = options
        .issuer
        .clone()
        .filter(|issuer| *issuer != work.domain.issuer);
    resume::withdraw(context, work);
    work.lineage.generations.push(number);
    work.lineage.record.enter(number, record, chosen);
    work.is_ahead = true;
    Ok(number)
}
