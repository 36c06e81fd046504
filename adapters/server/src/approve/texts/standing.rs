//! What the pages say of standing approvals: payments like one that is asked about, allowed for a while. Both languages side by
//! side.

/// `{}` stands for what a sentence is about, in the order of the doc.
pub(crate) struct StandingTexts {
    pub offer: &'static str,
    pub offer_lead: &'static str,
    /// Currency.
    pub each: &'static str,
    /// Currency.
    pub in_all: &'static str,
    pub days: &'static str,
    pub show: &'static str,
    /// Agent, payee, total.
    pub question: &'static str,
    pub passes: &'static str,
    /// Rule, policy.
    pub rule: &'static str,
    /// Policy.
    pub no_rule: &'static str,
    pub also: &'static str,
    pub under: &'static str,
    pub ends: &'static str,
    pub approved_lead: &'static str,
    pub changed_lead: &'static str,
    pub see: &'static str,
    pub name: &'static str,
    pub state: &'static str,
    /// Passes, changed, stopped, over.
    pub states: [&'static str; 4],
    pub end: &'static str,
    pub allowed_by: &'static str,
}

pub(super) static EN: StandingTexts = StandingTexts {
    offer: "Allow payments like this for a while …",
    offer_lead: "By this agent with this software, to this payee at this address. A page shows what you would allow, and your passkey signs it there; until then nothing is allowed.",
    each: "Each payment up to, in {}",
    in_all: "In all up to, in {}",
    days: "For how many days",
    show: "Show what I would allow",
    question: "May {} pay {} up to {} without asking again?",
    passes: "Without asking",
    rule: "what rule {} of policy {} would ask you about",
    no_rule: "what no rule of policy {} is about, and you would be asked about",
    also: "The payment that you were asked about is allowed with it, and counts.",
    under: "Part of the mandate",
    ends: "It ends by itself with its time or its mandate, when the agent's software, the policy or what is on record of the payee changes, and with any stop; and whenever you end it in the console.",
    approved_lead: "Payments like this pass without asking, within what stands below. You can end that in the console at any time.",
    changed_lead: "The agent, what is on record of the payee or the policy is not what stands here any more. It cannot be allowed; wait for the agent's next question.",
    see: "See and end it in the console",
    name: "standing approval",
    state: "Standing approval",
    states: [
        "payments pass without asking",
        "asks again: the agent, the policy or the record of the payee has changed",
        "asks again: something that it is about was stopped since",
        "its time is over",
    ],
    end: "End this standing approval",
    allowed_by: "Allowed beforehand by",
};

pub(super) static DE: StandingTexts = StandingTexts {
    offer: "Zahlungen wie diese eine Zeit lang erlauben …",
    offer_lead: "Durch diesen Agenten mit dieser Software, an diesen Empfänger unter dieser Adresse. Eine Seite zeigt, was Sie erlauben würden, und dort unterschreibt es Ihr Passkey; bis dahin ist nichts erlaubt.",
    each: "Jede Zahlung höchstens, in {}",
    in_all: "Insgesamt höchstens, in {}",
    days: "Für wie viele Tage",
    show: "Zeigen, was ich erlauben würde",
    question: "Darf {} an {} bis zu {} zahlen, ohne noch einmal zu fragen?",
    passes: "Ohne zu fragen",
    rule: "wonach Regel {} der Richtlinie {} Sie fragen würde",
    no_rule: "wozu Richtlinie {} keine Regel hat und wonach Sie gefragt würden",
    also: "Die Zahlung, nach der Sie gefragt wurden, ist damit auch erlaubt und zählt mit.",
    under: "Teil des Mandats",
    ends: "Sie endet von selbst mit ihrer Zeit oder ihrem Mandat, wenn sich die Software des Agenten, die Richtlinie oder das, was über den Empfänger hinterlegt ist, ändert, und mit jedem Anhalten; und wann immer Sie sie in der Konsole beenden.",
    approved_lead: "Zahlungen wie diese gehen im unten genannten Rahmen durch, ohne zu fragen. Sie können das jederzeit in der Konsole beenden.",
    changed_lead: "Der Agent, das über den Empfänger Hinterlegte oder die Richtlinie ist nicht mehr, was hier steht. Es kann nicht erlaubt werden; warten Sie auf die nächste Frage des Agenten.",
    see: "In der Konsole ansehen und beenden",
    name: "Dauererlaubnis",
    state: "Dauererlaubnis",
    states: [
        "Zahlungen gehen durch, ohne zu fragen",
        "fragt wieder: der Agent, die Richtlinie oder das über den Empfänger Hinterlegte hat sich geändert",
        "fragt wieder: etwas, worum es geht, wurde seither angehalten",
        "ihre Zeit ist um",
    ],
    end: "Diese Dauererlaubnis beenden",
    allowed_by: "Vorab erlaubt von",
};
