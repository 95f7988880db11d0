"""``mlip doctor``: is what is installed here a matched stack? One list of checks for images, sites and laptops."""
