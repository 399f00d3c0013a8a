"""What the pages say, done: commands are run on the demo cohort, files and figures looked for."""
