"""What tables look like in several languages. To add a language, add a row to `LANGUAGES`.

All words are in lower case. A word may be in several rows, but means the same in all of them.

The Italian name data (date) is left out, since it usually names values in another language. Such a column is found by
its cells, if these are dates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """The conventions of tables in a language. The words of a field are separated by spaces."""

    decimal: str  # the sign of the decimals, "." or ","
    months: str  # names and short names of January, …, December, with commas between the months
    yes: str
    no: str
    time: str  # names of columns with dates or times
    year: str  # names of columns with years, …
    quarter: str
    month: str
    week: str
    day: str  # names of columns with days of the month, beside years and months


LANGUAGES: Final = {
    "English": Language(
        decimal=".",
        months="january jan, february feb, march mar, april apr, may, june jun, july jul, august aug, "
        "september sept sep, october oct, november nov, december dec",
        yes="yes true",
        no="no false",
        time="time timestamp date datetime",
        year="year",
        quarter="quarter",
        month="month",
        week="week",
        day="day",
    ),
    "German": Language(
        decimal=",",
        months="januar jänner jan, februar feber feb, märz mär mrz, april apr, mai, juni jun, juli jul, august aug, "
        "september sept sep, oktober okt, november nov, dezember dez",
        yes="ja wahr",
        no="nein falsch",
        time="datum zeit zeitpunkt zeitstempel",
        year="jahr",
        quarter="quartal",
        month="monat",
        week="woche kalenderwoche kw",
        day="tag",
    ),
    "French": Language(
        decimal=",",
        months="janvier janv, février fevrier févr fevr fév fev, mars, avril avr, mai, juin, juillet juil, août aout, "
        "septembre sept, octobre oct, novembre nov, décembre decembre déc dec",
        yes="oui vrai",
        no="non faux",
        time="date horodatage",
        year="année annee",
        quarter="trimestre",
        month="mois",
        week="semaine",
        day="jour",
    ),
    "Spanish": Language(
        decimal=",",
        months="enero ene, febrero feb, marzo mar, abril abr, mayo may, junio jun, julio jul, agosto ago, "
        "septiembre setiembre sept sep, octubre oct, noviembre nov, diciembre dic",
        yes="sí si verdadero",
        no="no falso",
        time="fecha",
        year="año",
        quarter="trimestre",
        month="mes",
        week="semana",
        day="día dia",
    ),
    "Italian": Language(
        decimal=",",
        months="gennaio gen, febbraio feb, marzo mar, aprile apr, maggio mag, giugno giu, luglio lug, agosto ago, "
        "settembre sett set, ottobre ott, novembre nov, dicembre dic",
        yes="sì si vero",
        no="no falso",
        time="data_ora",
        year="anno",
        quarter="trimestre",
        month="mese",
        week="settimana",
        day="giorno",
    ),
    "Dutch": Language(
        decimal=",",
        months="januari jan, februari feb, maart mrt, april apr, mei, juni jun, juli jul, augustus aug, "
        "september sept sep, oktober okt, november nov, december dec",
        yes="ja waar",
        no="nee onwaar",
        time="datum tijd tijdstip",
        year="jaar",
        quarter="kwartaal",
        month="maand",
        week="week",
        day="dag",
    ),
}
_UNITS: Final = ("time", "year", "quarter", "month", "week", "day")
_IN_ALL_LANGUAGES: Final = {"kw", "tag"}  # a week and a day in German, but also kilowatts and an English tag

MONTHS: Final = {  # the number of each name
    name: number
    for language in LANGUAGES.values()
    for number, names in enumerate(language.months.split(","), start=1)
    for name in names.split()
}
YES: Final = frozenset(word for language in LANGUAGES.values() for word in language.yes.split())
NO: Final = frozenset(word for language in LANGUAGES.values() for word in language.no.split())
_UNIT_OF: Final = {
    name: unit for language in LANGUAGES.values() for unit in _UNITS for name in getattr(language, unit).split()
}


def unit_of(column: str) -> str:
    """What a column with this name holds: one of _UNITS; empty for another name."""
    return _UNIT_OF.get(column.lower(), "")


def language_of(columns: Collection[str], cells: Iterable[str] = ()) -> str:
    """The first language that the names of columns of times show, or else the words for yes and no in the cells.

    Empty if these could also be English.
    """
    english = LANGUAGES["English"]
    names = {column.lower() for column in columns} - _names_of_times(english) - _IN_ALL_LANGUAGES
    for name, language in LANGUAGES.items():
        if names & _names_of_times(language):
            return name
    words = {cell.strip().lower() for cell in cells} - _yes_and_no(english)
    return next((name for name, language in LANGUAGES.items() if words & _yes_and_no(language)), "")


def _names_of_times(language: Language) -> set[str]:
    return {name for unit in _UNITS for name in getattr(language, unit).split()}


def _yes_and_no(language: Language) -> set[str]:
    return {*language.yes.split(), *language.no.split()}
