"""Notices an answer that greets or offers help where an answer was due."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

SHORT_CHARS: Final = 400

_CLAUSE_END = re.compile(r"[!?…;。！？，、；：]+|[.,:]+(?=[\s*_\"')]|$)|\n+|\s[-–—]+\s")
_AND = re.compile(r" (?:and|und|et|y|e|en) ")
_EDGES: Final = " \t\r\"'“”„«»‘’`*_~#>()[]¡¿-–—"
_SYMBOLS = re.compile(r"[\u2190-\u2bff\U0001f000-\U0001faff\ufe0f\u200d]+")
_LINKS = re.compile(
    r"(?:(?:and|but|so|then|well|now|also|please|just|und|also|aber|bitte|et|donc|alors|y|entonces|por favor"
    r"|e|allora|ma|então|en|dus) )+"
)

_GREETS: Final = (
    # English
    r"(?:hello|hi|hey|greetings|howdy|welcome)(?: there| again| back| everyone| friend| user)?",
    r"good (?:morning|afternoon|evening|day)",
    r"(?:it's |it is )?(?:nice|great|good|pleased|a pleasure) to (?:meet|see|hear from) you.*",
    r"how are you.*",
    r"you(?:'re| are) (?:very |most )?welcome",
    # German
    r"(?:hallo|hi|hey|moin|servus|willkommen)(?: zusammen| nochmal| zurück)?",
    r"guten (?:tag|morgen|abend)",
    r"wie geht(?:'s| es) (?:dir|ihnen).*",
    r"(?:bitte|gern(?:e)? geschehen|herzlich willkommen)",
    # French
    r"(?:bonjour|bonsoir|salut|coucou|bienvenue|rebonjour)(?: à tous| à vous)?",
    r"comment (?:allez-vous|vas-tu|ça va).*",
    r"(?:je vous en prie|de rien|avec plaisir)",
    # Spanish
    r"(?:hola|saludos|bienvenid[oa])(?: de nuevo)?",
    r"buen(?:os|as) (?:días|tardes|noches)",
    r"(?:de nada|con (?:mucho )?gusto)",
    # Italian
    r"(?:ciao|salve|buongiorno|buonasera|benvenut[oa])(?: di nuovo)?",
    r"come (?:stai|sta|va).*",
    r"(?:prego|di nulla|con piacere)",
    # Portuguese, Dutch, Polish, Russian, Chinese, Japanese
    r"(?:olá|oi|bom dia|boa (?:tarde|noite)|bem-vindo)",
    r"(?:hoi|goedemorgen|goedemiddag|goedenavond|goedendag|welkom)",
    r"(?:cześć|witaj|dzień dobry)",
    r"(?:привет|здравствуйте|добрый день)",
    r"(?:你好|您好|こんにちは).{0,6}",
)
_OFFERS: Final = (
    # English
    (
        r"(?:how|what|where) (?:else )?(?:can|may|could|shall|should|might) i "
        r"(?:help|assist|support|serve|do for).*"
    ),
    r"how (?:can|may|could) i be of .*",
    (
        r"(?:what|which .*|how) (?:else )?(?:would|do|did|can|should) (?:you|i) "
        r"(?:like|want|need|wish|have in mind|do (?:for|next)).*"
    ),
    r"what(?:'s| is) (?:on your mind|your (?:question|request|task)|next|the task).*",
    r"would you like (?:me )?(?:to|some|any|help|more).*",
    r"do you (?:want|need|have) (?:me to|any|help|some|another|more|a (?:question|task|specific)).*",
    r"is there (?:anything|something)(?: else)?.*",
    r"(?:let me|just let me) know(?: (?:if|what|how|when|which|where|whether) .*)?",
    (
        r"(?:i'm|i am|we're) (?:always |right |more than |so |very )?"
        r"(?:here|happy|glad|ready|available|excited|able|pleased) "
        r"(?:for you|to (?:help|assist|support|answer|chat)).*"
    ),
    (
        r"i(?:'d| would) (?:be|love|like) (?:more than |very )?(?:happy |glad |pleased )?"
        r"to (?:help|assist|support).*"
    ),
    r"i (?:can|will|'ll|could) (?:help|assist)(?: you)?(?: with .*| today)?",
    r"i(?:'ll| will) (?:be happy|be glad|do my best) to (?:help|assist).*",
    r"(?:if you (?:have|need|want|would like|'d like) .*|feel free to .*|don't hesitate to .*)",
    (
        r"(?:tell me|share|describe|explain) "
        r"(?:more|your|(?:what|how|which)(?: \w+)? (?:you|i|we)|the (?:task|question|problem|details))\b.*"
    ),
    r"(?:happy|glad|ready) to (?:help|assist).*",
    r"ready when you are|ask (?:me )?(?:away|anything.*)|(?:go ahead and )?ask your question.*",
    r"anything else.*",
    # German
    (
        r"(?:wie|womit|wobei|was) (?:kann|darf|könnte|soll) ich "
        r"(?:dir|ihnen|euch|für|heute|noch|tun|machen|helfen).*"
    ),
    r"was (?:möchtest|möchten|willst|wollen|brauchst|brauchen|wünschen) (?:du|sie).*",
    r"(?:möchtest|möchten|brauchst|brauchen|hast|haben) (?:du|sie) .*",
    r"(?:ich helfe|ich bin (?:hier|bereit|da)|ich stehe) .*",
    r"(?:lass|lassen) (?:es )?(?:mich|sie mich)(?: es)? (?:einfach )?wissen.*",
    r"(?:sag|sagen sie) (?:mir|bescheid).*",
    r"(?:gibt es|kann ich) (?:noch |sonst )?(?:etwas|noch etwas|sonst noch etwas).*",
    r"(?:wenn|falls) (?:du|sie) .*(?:brauch|frag|hilfe|möcht|haben|hast).*|zögern sie nicht.*",
    r"(?:um |was |wobei |womit ).*(?:helfen|geht es|unterstützen).*",
    # French
    r"(?:comment|en quoi|que|qu'est-ce que) (?:puis-je|pourrais-je|je peux|je pourrais) .*",
    r"(?:que|qu'est-ce que) (?:souhaitez|voulez|désirez|veux|voudriez|aimeriez|vous).*",
    r"(?:souhaitez|voulez|avez|as|veux|désirez)-(?:vous|tu) .*",
    r"(?:je suis|je reste|me voici) (?:là|ici|prêt|prête|à votre|à ta|disponible|heureux|ravi).*",
    r"(?:dites|dis)-moi .*|n'hésitez pas.*|n'hésite pas.*|faites-le-moi savoir.*",
    r"(?:si vous|si tu) (?:avez|as|souhaitez|voulez|veux) .*|y a-t-il (?:autre chose|quelque chose).*",
    r"(?:je peux|je serai ravi de|je serais ravi de) (?:vous |t')?(?:aider|assister).*",
    # Spanish
    (
        r"(?:en qué|cómo|con qué|qué) (?:más )?(?:puedo|podría|te puedo|le puedo) "
        r"(?:ayudar|hacer|asistir|servir).*"
    ),
    r"qué (?:te|le|les) gustaría .*|qué (?:quieres|desea|deseas|necesitas|necesita) .*",
    r"(?:quieres|desea|deseas|necesitas|necesita|tienes|tiene) (?:que|algo|ayuda|alguna) .*",
    r"(?:estoy|aquí estoy) (?:aquí|listo|lista|para|a tu|a su|disponible|encantad).*",
    r"(?:dime|dígame|cuéntame|avísame|hazme saber) (?:qué|cómo|en qué|si|más).*|no dudes en .*",
    r"(?:si (?:tienes|tiene|necesitas|necesita) .*|hay algo más.*)",
    # Italian
    (
        r"(?:come|in che modo|in cosa|cosa|di cosa|che cosa) "
        r"(?:posso|potrei|vorresti|vuoi|desideri|desidera|hai bisogno|ti serve).*"
    ),
    r"(?:vuoi|vorresti|desideri|hai|ha) (?:che|bisogno|altre|altro|qualche) .*",
    r"(?:sono|resto) (?:qui|pronto|pronta|a tua|a sua|a disposizione|felice|lieto).*",
    r"(?:dimmi|fammi sapere|mi dica|mi faccia sapere) .*|non esitare a .*|non esiti a .*",
    r"(?:se hai|se ha|se avete) .*|c'è (?:qualcos'altro|altro).*|posso (?:aiutarti|aiutarla) .*",
    # Portuguese, Dutch, Polish, Russian, Chinese, Japanese
    r"(?:como|em que|no que|o que) (?:posso|você gostaria|você quer|deseja).*|estou aqui para .*",
    r"(?:hoe|waarmee|wat) kan ik (?:je|u|voor|vandaag|nog).*",
    r"wat wil(?:t)? (?:je|u) .*|ik help (?:je|u) graag.*",
    r"(?:w czym|jak) mogę (?:ci |panu |pani )?pomóc.*",
    r"(?:чем|как) (?:я )?(?:могу|можем) .*помочь.*",
    r".{0,8}(?:有什么|我可以|我能|能).{0,6}(?:帮|幫).{0,12}|.*(?:お手伝い|ご用件).*",
)
_FILLS: Final = (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|ok(?:ay)?|alright|all right|got it|great|understood)",
    r"(?:no problem|thanks.*|thank you.*)",
    r"(?:i understand|i see|no worries|my pleasure|perfect|excellent|sounds good)",
    (
        r"(?:i'm|i am|my name is|this is) .{0,60}"
        r"(?:assistant|model|ai|bot|qwen|phi|llama|gemma|mistral|deepseek)\b.{0,60}"
    ),
    r"(?:a|an|your) .{0,40}(?:assistant|language model|ai|chatbot).{0,60}",
    r"(?:today|with (?:that|this|your .{0,40}|anything.{0,40}|any .{0,40})|or .{0,80})",
    r"(?:natürlich|klar|gerne?|sicher|selbstverständlich|ok|verstanden|danke.*|alles klar)",
    r"(?:dass|was|wie|womit|wobei) ich .{0,60}",
    r"ich bin (?:ein|eine|dein|ihr) .{0,60}",
    r"(?:bien sûr|certainement|d'accord|très bien|merci.*|parfait|volontiers|entendu|avec plaisir)",
    r"je suis (?:un|une|votre|ton) .{0,60}",
    r"(?:claro(?: que sí)?|por supuesto|entendido|de acuerdo|gracias.*|perfecto)",
    r"soy (?:un|una|tu|su) .{0,60}",
    r"(?:certo|certamente|va bene|grazie.*|capito|volentieri)",
    r"sono (?:un|una|il tuo|la tua) .{0,60}",
    r"(?:claro|com certeza|obrigad[oa].*|natuurlijk|bedankt.*|oczywiście|конечно|好的|当然)",
    r"もちろん(?:です)?",
    r"(?:我是|私は).{0,30}",
)
_DUE = re.compile("|".join([*_GREETS, *_OFFERS]), re.IGNORECASE)
_FILL = re.compile("|".join(_FILLS), re.IGNORECASE)


def is_greeting(text: str) -> bool:
    """Tell whether the text is nothing but a greeting or an offer of help.

    It is where every clause of it greets, offers, asks what to do or fills (`Sure`, `I am Qwen`), at least
    one does more than fill, and there are fewer than 400 characters. So an answer that ends politely is none.
    English, German, French, Spanish and Italian; the most usual phrases of six more languages.
    """
    if len(text) >= SHORT_CHARS:
        return False
    kinds = _kinds(_CLAUSE_END.split(_SYMBOLS.sub(" ", text.replace("’", "'"))))
    return kinds in ({"due"}, {"due", "fill"})


def _kinds(clauses: Sequence[str]) -> set[str]:
    """Return the kinds of the clauses that are not empty: `due`, `fill` or `answer`."""
    folded = (" ".join(clause.casefold().split()).strip(_EDGES) for clause in clauses)
    return set().union(*(_kinds_of(clause) for clause in folded if clause))


def _kinds_of(clause: str) -> set[str]:
    links = _LINKS.match(clause)
    for words in (clause, clause[links.end() :] if links else clause):
        if _DUE.fullmatch(words):
            return {"due"}
        if _FILL.fullmatch(words):
            return {"fill"}
    parts = _AND.split(clause, maxsplit=1)
    return _kinds(parts) if len(parts) > 1 else {"answer"}
