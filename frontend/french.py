"""The page's texts in French, by their English text."""

from __future__ import annotations

TEXTS: dict[str, str] = {
    # How figures are written; the space does not break.
    ".": ",",
    ",": "\u202f",
    "{figure}%": "{figure}\u00a0%",
    # The names of the precisions: what is sent to the service is the same words, capital letters included.
    "Low": "Faible",
    "Medium": "Moyenne",
    "High": "Importante",
    # The seven diagnoses.
    "Actinic keratoses": "Kératoses actiniques",
    "Basal cell carcinoma": "Carcinome basocellulaire",
    "Benign keratosis-like lesions": "Lésions bénignes de type kératose",
    "Dermatofibroma": "Dermatofibrome",
    "Melanoma": "Mélanome",
    "Melanocytic nevi": "Nævus mélanocytaires",
    "Vascular lesions": "Lésions vasculaires",
    # The views: frontend/verdict.py, explanation.py, judgement.py, seen.py, report.py.
    "No reliable diagnosis": "Pas de diagnostic fiable",
    (
        "This picture is unlike the photographs that the model was trained on. What it says of such a picture "
        "means nothing, neither for a malignant lesion nor against one."
    ): (
        "Cette image ne ressemble pas aux photographies de l'entraînement. Ce que le modèle dit d'une telle image ne "
        "signifie rien, ni pour ni contre une lésion maligne."
    ),
    "Show what the model says all the same": "Afficher malgré tout ce que dit le modèle",
    "Show the explanation all the same": "Afficher malgré tout l'explication",
    "Far below the malignant threshold": "Très en dessous du seuil de malignité",
    "Below the malignant threshold": "En dessous du seuil de malignité",
    "Just above the malignant threshold": "Juste au-dessus du seuil de malignité",
    "Above the malignant threshold": "Au-dessus du seuil de malignité",
    "Far above the malignant threshold": "Très au-dessus du seuil de malignité",
    "Cannot be excluded: {diagnoses}": "Ne peuvent être exclus\u00a0: {diagnoses}",
    "Melanoma, basal cell carcinoma and actinic keratoses together: {share}.": (
        "Mélanome, carcinome basocellulaire et kératoses actiniques ensemble\u00a0: {share}."
    ),
    "threshold {threshold}": "seuil {threshold}",
    "{share} on a scale from 0 to 100, threshold at {threshold}": (
        "{share} sur une échelle de 0 à 100, seuil à {threshold}"
    ),
    (
        "Of the test photographs, {sensitivity} of the malignant ones and {false_alarms} of the others reach the "
        "threshold."
    ): (
        "Parmi les photographies de test, {sensitivity} des malignes et {false_alarms} des autres atteignent le seuil."
    ),
    "Photograph {name}; the network saw the square in its centre": (
        "Photographie {name}\u00a0; le réseau a vu le carré en son centre"
    ),
    "The lesion seems to reach beyond the square that the network saw: about {share} of it lies outside.": (
        "La lésion semble dépasser le carré que le réseau a vu\u00a0: environ {share} de sa surface est en dehors."
    ),
    "The lesion seems to touch the border of the square that the network saw; it may be cut off there.": (
        "La lésion semble toucher le bord du carré que le réseau a vu\u00a0; elle y est peut-être coupée."
    ),
    "Weak explanation: the simple model copies the network poorly": (
        "Explication fragile\u00a0: le modèle simple imite mal le réseau"
    ),
    "Unsteady explanation: another run may find other regions": (
        "Explication instable\u00a0: un autre tirage pourrait trouver d'autres régions"
    ),
    "Fair explanation: the simple model copies the network roughly": (
        "Explication passable\u00a0: le modèle simple imite le réseau à grands traits"
    ),
    "Faithful explanation, but only fairly steady": "Explication fidèle, mais moyennement stable",
    "Steady and faithful explanation": "Explication stable et fidèle",
    "Target not reached: stability {stability} of {target}.": (
        "Objectif non atteint\u00a0: stabilité de {stability} au lieu de {target}."
    ),
    "The time limit ended it; this is the best so far.": (
        "La limite de temps l'a interrompue\u00a0; voici le meilleur résultat obtenu."
    ),
    "One by one the regions explain little here: read the pairs too.": (
        "Prises une à une, les régions expliquent peu ici\u00a0: lisez aussi les paires."
    ),
    "the strongest regions were stable": "la stabilité des régions les plus fortes",
    "the precision's limit": "la limite de la précision choisie",
    "the time limit": "la limite de temps",
    "unknown": "inconnue",
    "Perturbed photographs": "Photographies perturbées",
    "Seconds": "Secondes",
    "R² of the regions alone": "R² des régions seules",
    "R² with pairs of regions": "R² avec les paires de régions",
    "R² with triples of regions": "R² avec les triplets de régions",
    "Completeness (1 is best)": "Complétude (1 est l'idéal)",
    "Its target": "Son objectif",
    "Ended by": "Arrêtée par",
    "Region {number}: {weight} ± {error} for {diagnosis}": (
        "Région {number}\u00a0: {weight} ± {error} en faveur de «\u00a0{diagnosis}\u00a0»"
    ),
    "Region {number}: {weight} ± {error} against {diagnosis}": (
        "Région {number}\u00a0: {weight} ± {error} contre «\u00a0{diagnosis}\u00a0»"
    ),
    "The photograph": "La photographie",
    "The photograph; what lies outside the square was not seen": (
        "La photographie\u00a0; ce qui est hors du carré n'a pas été vu"
    ),
    "What speaks for and against {diagnosis}": "Ce qui plaide pour ou contre «\u00a0{diagnosis}\u00a0»",
    "Point at a region, or tap it, to see its weight.": "Pointez ou touchez une région pour voir son poids.",
    "View": "Vue",
    "Heat map": "Carte de chaleur",
    "Outlines": "Contours",
    "Hide the rest": "Masquer le reste",
    "Opacity": "Opacité",
    "Zoom in": "Agrandir",
    "Zoom out": "Réduire",
    "Whole picture": "Image entière",
    "for {diagnosis}, up to +{most}": "pour «\u00a0{diagnosis}\u00a0», jusqu'à +{most}",
    "against {diagnosis}, up to −{most}": "contre «\u00a0{diagnosis}\u00a0», jusqu'à −{most}",
    "Weights are in log-odds, ± their standard error.": "Les poids sont des log-cotes, ± leur erreur type.",
    "for": "pour",
    "against": "contre",
    "Region": "Région",
    "Regions": "Régions",
    "Weight": "Poids",
    "Speaks": "Plaide",
    "Strongest regions": "Régions les plus fortes",
    "Strongest pairs": "Paires les plus fortes",
    "these two speak only together": "ces deux-là ne comptent qu'ensemble",
    "one can stand in for the other": "l'une peut remplacer l'autre",
    "Interaction": "Interaction",
    "Meaning": "Sens",
    "The figures behind it": "Les chiffres",
    "Report: {name}": "Compte rendu\u00a0: {name}",
    "Report on skin lesions": "Compte rendu\u00a0: lésions cutanées",
    "Made on {date} by MLBIO.": "Établi le {date} par MLBIO.",
    "Model {architecture}, version {version}.": "Modèle {architecture}, version {version}.",
    "Precision of the explanation: {precision}.": "Précision de l'explication\u00a0: {precision}.",
    # The flow of the page: every other module.
    "MLBIO – skin lesions": "MLBIO – lésions cutanées",
    "Skin-lesion classifier": "Classification de lésions cutanées",
    "Language": "Langue",
    (
        "Upload a dermatoscopic photograph to get one of seven diagnoses, its probability and a picture that "
        "explains it."
    ): (
        "Donnez une photographie dermatoscopique\u00a0: vous obtenez un diagnostic parmi sept, sa probabilité"
        " et une image qui l'explique."
    ),
    "The service is ready.": "Le service est prêt.",
    "The service is starting. What you drop is classified as soon as it is ready.": (
        "Le service démarre. Vos photographies seront classées dès qu'il sera prêt."
    ),
    (
        "The service is not reachable. Start it in the project's folder with make serve; what you drop is "
        "classified as soon as it is ready."
    ): (
        "Le service ne répond pas. Lancez-le avec make serve dans le dossier du projet\u00a0; vos "
        "photographies seront classées dès qu'il sera prêt."
    ),
    "**The service is not reachable** at {url}. The work goes on as soon as it is.": (
        "**Le service ne répond pas** à l'adresse {url}. Le travail reprendra dès qu'il répondra."
    ),
    "Photographs: they are classified as soon as they are dropped": (
        "Photographies\u00a0: elles sont classées dès leur dépôt"
    ),
    "Take a photograph": "Prendre une photographie",
    "Camera": "Appareil photo",
    "Or try an example": "Ou essayez un exemple",
    "Try: {name}": "Essayer\u00a0: {name}",
    "Keratosis": "Kératose",
    "Nevus": "Nævus",
    "Vascular": "Lésion vasculaire",
    "Try all of them": "Les essayer tous",
    "These pictures were drawn by a script. They only show what the output looks like.": (
        "Ces images ont été dessinées par un programme. Elles montrent seulement à quoi ressemble le résultat."
    ),
    (
        "For research and teaching only. This is not a medical device and does not replace an examination by "
        "a physician."
    ): (
        "Pour la recherche et l'enseignement seulement. Ceci n'est pas un dispositif médical et ne remplace "
        "pas l'examen par un médecin."
    ),
    "Precision of explanations": "Précision des explications",
    "Low is the quickest, High the most careful and the slowest.": (
        "Faible est la plus rapide\u00a0; Importante, la plus soigneuse et la plus lente."
    ),
    "Explain all": "Tout expliquer",
    "Stop all": "Tout arrêter",
    "Remove all": "Tout retirer",
    "{count} to classify": "{count} à classer",
    "{count} to explain": "{count} à expliquer",
    "{count} photographs": "{count} photographies",
    "Photographs": "Photographies",
    "Show": "Afficher",
    "All": "Toutes",
    "Flagged as malignant": "Signalées comme malignes",
    "Unlike the training photographs": "Différentes de celles de l'entraînement",
    "Failed": "En échec",
    "There are none.": "Il n'y en a pas.",
    "The photographs with their diagnoses": "Les photographies et leurs diagnostics",
    "Picture": "Image",
    "File": "Fichier",
    "Diagnosis": "Diagnostic",
    "Probability": "Probabilité",
    "Malignant": "Malignité",
    "Flagged": "Signalée",
    "Unlike": "Différente",
    "Stability": "Stabilité",
    "Click a heading to sort, or the box before a row to see its photograph.": (
        "Cliquez sur un titre pour trier, ou sur la case d'une ligne pour voir sa photographie."
    ),
    "Table as CSV": "Tableau en CSV",
    "Report": "Compte rendu",
    "Everything as ZIP": "Le tout en ZIP",
    "Compare with the true diagnoses": "Comparer aux vrais diagnostics",
    "True diagnoses": "Vrais diagnostics",
    "A CSV file with the columns file and dx; dx is one of {known}.": (
        "Un fichier CSV avec les colonnes file et dx\u00a0; dx est l'un des codes {known}."
    ),
    "None of the files it lists has been uploaded.": "Aucun des fichiers qu'il nomme n'a été déposé.",
    "Accuracy": "Exactitude",
    "Balanced accuracy": "Exactitude équilibrée",
    "True ↓ Model →": "Vrai ↓ Modèle →",
    "Page (of {count})": "Page (sur {count})",
    "The CSV file needs a header with the columns file and dx.": (
        "Il faut au fichier CSV un en-tête avec les colonnes file et dx."
    ),
    "This is not a CSV file in UTF-8.": "Ce n'est pas un fichier CSV en UTF-8.",
    "Line {line}: {word} is none of {known}.": "Ligne {line}\u00a0: {word} n'est pas l'un des codes {known}.",
    "Photograph {name}": "Photographie {name}",
    "This file cannot be shown.": "Ce fichier ne peut pas être affiché.",
    "Classifying…": "Classification en cours…",
    "Waiting…": "En attente…",
    "Explaining…": "Explication en cours…",
    "Waiting to be explained…": "En attente d'explication…",
    "Explain": "Expliquer",
    "Explain again": "Expliquer à nouveau",
    "Stop": "Arrêter",
    "Remove": "Retirer",
    "Try again": "Réessayer",
    "Save as PNG": "Enregistrer en PNG",
    "Probability {share}": "Probabilité {share}",
    "Something went wrong in the page itself. Reload it; the log of `streamlit run` says more.": (
        "La page elle-même a rencontré une erreur. Rechargez-la\u00a0; le journal de `streamlit run` en dit plus."
    ),
    "The service took too long. Try again in a moment.": "Le service a mis trop de temps. Réessayez dans un instant.",
    "The connection to the service broke. Try again.": "La connexion au service s'est rompue. Réessayez.",
    "This file is empty. Choose another one.": "Ce fichier est vide. Choisissez-en un autre.",
    ("This file is not a photograph that can be read. Choose a JPEG, PNG, WebP, BMP, TIFF, GIF or HEIC file."): (
        "Ce fichier n'est pas une photographie lisible. Choisissez un fichier JPEG, PNG, WebP, BMP, TIFF, GIF ou HEIC."
    ),
    "This photograph is damaged or incomplete. Copy it again, or save it as JPEG or PNG.": (
        "Cette photographie est abîmée ou incomplète. Copiez-la à nouveau, ou enregistrez-la en JPEG ou PNG."
    ),
    (
        "This photograph has {width} × {height} pixels; the limit is {most} million. Make it smaller, or "
        "save it as JPEG."
    ): (
        "Cette photographie a {width} × {height} pixels\u00a0; la limite est de {most} millions. Réduisez-la,"
        " ou enregistrez-la en JPEG."
    ),
    "This photograph has {width} × {height} pixels; neither side may exceed {most}. Make it smaller.": (
        "Cette photographie a {width} × {height} pixels\u00a0; aucun côté ne peut dépasser {most}. Réduisez-la."
    ),
    "This file is too large. Make the photograph smaller.": "Ce fichier est trop lourd. Réduisez la photographie.",
    "The service wants an API key. Set MLBIO_API_KEY where the page is started.": (
        "Le service demande une clé. Définissez MLBIO_API_KEY là où la page est lancée."
    ),
    "The service is busy. Try again in a moment.": "Le service est occupé. Réessayez dans un instant.",
}

STREAMLIT: dict[str, str] = {
    # The words of Streamlit's own widgets, which it has in English only.
    "Upload": "Choisir des fichiers",
    "Browse files": "Choisir des fichiers",
    "Add files": "Ajouter des fichiers",
    "This app would like to use your camera.": "La page demande l'accès à la caméra.",
    "Take Photo": "Prendre la photo",
    "Clear photo": "Effacer la photo",
    "Switch camera": "Changer de caméra",
    "Search": "Chercher",
    "Type to search": "Texte à chercher",
    "Close Search": "Fermer la recherche",
    "Next Result": "Résultat suivant",
    "Previous Result": "Résultat précédent",
    "Fullscreen": "Plein écran",
    "Close fullscreen": "Quitter le plein écran",
    "Download as CSV": "Enregistrer en CSV",
    "Show/hide columns": "Choisir les colonnes",
    "Clear selection": "Effacer la sélection",
    "Sort ascending": "Trier par ordre croissant",
    "Sort descending": "Trier par ordre décroissant",
    "Autosize": "Largeur automatique",
    "Pin column": "Figer la colonne",
    "Unpin column": "Libérer la colonne",
    "Hide column": "Masquer la colonne",
    "Copy column name": "Copier le nom de la colonne",
    "Dataframe column menu": "Menu de la colonne",
    "Statistics": "Statistiques",
    "Close": "Fermer",
}
